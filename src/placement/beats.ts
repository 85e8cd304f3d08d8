import { beatSubject, beatSubjects } from '../nats/layout.ts'
import type { Messaging } from '../nats/messaging.ts'
import type { SiteRecord, StoreRecord } from './model.ts'

/** What a node says of its site every few seconds. */
export interface Beat {
  readonly site: string
  readonly node: string
  readonly jetstreamDomain: string
  readonly labels: SiteRecord['labels']
  readonly stores: readonly Pick<StoreRecord, 'store' | 'usedBytes' | 'freeBytes'>[]
  /** Last sequence of its event log. */
  readonly lastSequence: number
}

export interface BeatsParts {
  readonly messaging: Messaging
  readonly domain: string
  readonly site: string
  readonly node: string
  /** What to say now. */
  readonly describe: () => Promise<Omit<Beat, 'site' | 'node'>>
  readonly onBeat: (beat: Beat) => void
  readonly everyMs?: number
}

const everyMsDefault = 2_000
const beatBytesMax = 64 * 1024

/** Says every few seconds that this node is there, and hears the others: those of this site and of all that are connected. */
export class Beats {
  readonly #parts: BeatsParts
  readonly #heardMs = new Map<string, number>()
  readonly #last = new Map<string, Beat>()
  readonly #listening: { stop(): void }
  readonly #timer: NodeJS.Timeout
  #saying: Promise<void> = Promise.resolve()

  constructor(parts: BeatsParts) {
    this.#parts = parts
    this.#listening = parts.messaging.listen(beatSubjects(parts.domain), undefined, ({ data }) => this.#hear(data))
    let isSaying = false
    const say = () => {
      // Slow answers of NATS do not pile up.
      if (isSaying) return
      isSaying = true
      this.#saying = this.#say().finally(() => {
        isSaying = false
      })
    }
    this.#timer = setInterval(say, parts.everyMs ?? everyMsDefault)
    this.#timer.unref()
    say()
  }

  /** How long ago a site was heard, in ms; Infinity = never since the start. */
  silenceMs(site: string): number {
    return site === this.#parts.site ? 0 : performance.now() - (this.#heardMs.get(site) ?? Number.NEGATIVE_INFINITY)
  }

  /** The last word of a site. */
  lastOf(site: string): Beat | undefined {
    return this.#last.get(site)
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#listening.stop()
    await this.#saying
  }

  async #say(): Promise<void> {
    const { messaging, domain, site, node, describe } = this.#parts
    try {
      const beat: Beat = { site, node, ...(await describe()) }
      this.#last.set(site, beat)
      messaging.send(beatSubject(domain, site, node), { data: JSON.stringify(beat) })
    } catch {
      // NATS is away: silence is what tells the others.
    }
  }

  #hear(data: Uint8Array): void {
    const beat = beatIn(data)
    if (beat === undefined || beat.node === this.#parts.node) return
    this.#heardMs.set(beat.site, performance.now())
    this.#last.set(beat.site, beat)
    this.#parts.onBeat(beat)
  }
}

/** Undefined for what is none: anyone may publish. */
function beatIn(data: Uint8Array): Beat | undefined {
  if (data.byteLength > beatBytesMax) return undefined
  try {
    const beat = JSON.parse(Buffer.from(data).toString('utf8')) as Partial<Beat>
    const isName = (text: unknown) => typeof text === 'string' && /^[\w-]{1,64}$/.test(text)
    const isBeat = isName(beat.site) && isName(beat.node) && isName(beat.jetstreamDomain) && Array.isArray(beat.stores)
    return isBeat && typeof beat.labels === 'object' ? (beat as Beat) : undefined
  } catch {
    return undefined
  }
}
