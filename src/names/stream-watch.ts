import { setTimeout as delay } from 'node:timers/promises'
import { closeWaitMs, settledWithin } from '../lib/settled-within.ts'
import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { deadStream, keyBucket, kvStream, moveStream, queueStream, readStream, tokenBucket } from '../nats/layout.ts'
import { patiently } from '../nats/patience.ts'
import { streamHealth, streamMark } from '../nats/stream-health.ts'

export interface StreamWatchParts {
  readonly nats: Nats
  readonly domain: string
  /** Keeps what was seen of the streams. */
  readonly bucket: KvBucket
  readonly waitMs: number
  /** Between two looks at all of them. 0 = none but the one at the start. */
  readonly auditEveryMs: number
  readonly onDamaged: (stream: string, what: string) => void
  readonly onTrouble: (error: unknown) => void
}

type Marks = Readonly<Record<string, { readonly created: string; readonly last: number }>>

/** A key that no space can have. */
const marksKey = '=streams'
const saveEveryMs = 5_000
/** After each page that was read. */
const restMs = 20
const pace = (_bytes: number, signal: AbortSignal): Promise<void> => delay(restMs, undefined, { signal })

/**
 * Watches the streams that are not folded from the log, and so cannot be made anew: what is lost of them is told. At the start and
 * now and then each is read, slowly, and compared with what was seen of it before.
 */
export class StreamWatch {
  readonly #parts: StreamWatchParts
  readonly #stop = new AbortController()
  readonly #streams: readonly string[]
  #timer: NodeJS.Timeout | undefined
  #running: Promise<unknown> = Promise.resolve()
  #saved = ''
  #nextMs = Number.POSITIVE_INFINITY
  readonly #told = new Set<string>()
  #isRunning = false

  constructor(parts: StreamWatchParts) {
    this.#parts = parts
    const { domain } = parts
    const buckets = [keyBucket(domain), tokenBucket(domain)].map(kvStream)
    this.#streams = [...buckets, queueStream(domain), deadStream(domain), moveStream(domain), readStream(domain)]
  }

  /** What was seen before is asked before anybody makes a stream anew that is gone. @throws AppError STORE_UNAVAILABLE */
  async start(): Promise<void> {
    const before = await this.#read()
    this.#plan()
    this.#run(() => this.#lookOrTell(before))
    this.#timer = setInterval(() => this.#run(() => this.#lookAndSave()), saveEveryMs)
  }

  /** One at a time: what takes long, or waits for NATS, is not waited for by ever more of them. */
  #run(work: () => Promise<void>): void {
    if (this.#isRunning) return
    this.#isRunning = true
    this.#running = work().finally(() => {
      this.#isRunning = false
    })
  }

  async #lookAndSave(): Promise<void> {
    if (performance.now() >= this.#nextMs) {
      this.#plan()
      await this.#lookOrTell(JSON.parse(this.#saved || '{}') as Marks)
    }
    await this.#save().catch(() => undefined)
  }

  #plan(): void {
    const { auditEveryMs } = this.#parts
    if (auditEveryMs > 0) this.#nextMs = performance.now() + auditEveryMs
  }

  async #lookOrTell(before: Marks): Promise<void> {
    try {
      await this.#look(before)
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#parts.onTrouble(error)
    }
  }

  /** Once of each damage. */
  #tell(stream: string, what: string): void {
    const line = `${stream} ${what}`
    if (this.#told.has(line)) return
    this.#told.add(line)
    this.#parts.onDamaged(stream, what)
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#stop.abort(new Error('the node stops'))
    await settledWithin(
      closeWaitMs,
      this.#running.then(() => this.#save()),
    )
  }

  async #look(before: Marks): Promise<void> {
    const { nats, waitMs } = this.#parts
    const { signal } = this.#stop
    for (const stream of this.#streams) {
      const known = before[stream]
      const mark = await patiently(waitMs, signal, () => streamMark(nats, stream))
      if (known !== undefined && mark?.created !== known.created) {
        this.#tell(stream, `it was gone; it had ${known.last} messages in its life, and what was left of them is lost`)
      } else if (known !== undefined && mark !== undefined && mark.last < known.last) {
        this.#tell(stream, `it ends at ${mark.last}, and had ${known.last}: its end is lost`)
      }
      const health = await patiently(waitMs, signal, () => streamHealth(nats, stream, { signal, pace }))
      if (health !== undefined && health.unreadable > 0)
        this.#tell(stream, `${health.unreadable} of its messages cannot be read`)
    }
  }

  async #read(): Promise<Marks> {
    const record = await this.#parts.bucket.get(marksKey)
    if (record === undefined || record.removed) return {}
    try {
      return (JSON.parse(record.value.toString('utf8')) as Marks | null) ?? {}
    } catch {
      return {}
    }
  }

  async #save(): Promise<void> {
    const { nats, bucket } = this.#parts
    const marks: Record<string, Marks[string]> = {}
    for (const stream of this.#streams) {
      const mark = await streamMark(nats, stream)
      if (mark !== undefined) marks[stream] = mark
    }
    const text = JSON.stringify(marks)
    if (text === this.#saved || !(await bucket.exists())) return
    const present = await bucket.get(marksKey)
    if ((await bucket.write(marksKey, Buffer.from(text), present?.seq ?? 0)) !== undefined) this.#saved = text
  }
}
