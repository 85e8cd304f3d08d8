import { setTimeout as delay } from 'node:timers/promises'
import { AppError } from '../errors.ts'
import type { Comparison, Missing } from './missing.ts'

export interface CatchUpParts {
  readonly missing: Pick<Missing, 'compare'>
  /** Looks at a root again. */
  readonly consider: (rootKey: string) => void
  /** A site that was silent for so long is heard "again". */
  readonly silentMs: number
  readonly onTrouble: (error: unknown) => void
  /** Between two looks; grows. */
  readonly pauseMs?: number
}

export interface CaughtUp {
  readonly site: string
  /** Sites whose events were not all here, when it was first asked. */
  readonly behindAtFirst: number
  /** Roots that were not known here then. */
  readonly unknownAtFirst: number
  /** The same at the end: not 0 = it was given up. */
  readonly behind: number
  readonly unknown: number
  readonly seconds: number
  /** When it ended; RFC 3339. */
  readonly time: string
}

const pauseMsDefault = 1_000
const pauseMsMax = 30_000
const looksMax = 8
const pollMs = 250

/**
 * After a site was silent and is heard again: asks it once what this one is missing, waits until the log has brought that, and
 * has the roots looked at that were not known here. The log comes by itself; this is how one knows that it has, and who is
 * told when it has not. To be run under the lease of the site.
 */
export class CatchUp {
  readonly #parts: CatchUpParts
  readonly #heardMs = new Map<string, number>()
  readonly #due = new Set<string>()
  readonly #done = new Map<string, CaughtUp>()

  constructor(parts: CatchUpParts) {
    this.#parts = parts
  }

  /** The last one of each site. */
  get done(): readonly CaughtUp[] {
    return [...this.#done.values()]
  }

  /** At each heartbeat of another site; also at nodes that do not have the lease, which may come to them. */
  heard(site: string, nowMs = performance.now()): void {
    const beforeMs = this.#heardMs.get(site)
    this.#heardMs.set(site, nowMs)
    if (beforeMs === undefined || nowMs - beforeMs > this.#parts.silentMs) this.#due.add(site)
  }

  /** Until the signal aborts. One site after the other. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const [site] = this.#due
      if (site === undefined) {
        await delay(pollMs, undefined, { signal }).catch(() => undefined)
        continue
      }
      this.#due.delete(site)
      try {
        this.#done.set(site, await this.catchUp(site, signal))
      } catch (error) {
        // It may be silent once more: then it is due again when it is heard.
        if (!signal.aborted) this.#parts.onTrouble(error)
      }
    }
  }

  /** @throws AppError STORE_UNAVAILABLE when what it has does not come in */
  async catchUp(site: string, signal: AbortSignal): Promise<CaughtUp> {
    const { missing, consider, pauseMs = pauseMsDefault } = this.#parts
    const startMs = performance.now()
    const first = await missing.compare(site, signal)
    let now: Comparison = first
    for (let look = 1; leftOf(first, now).isLate && look < looksMax; look++) {
      await delay(Math.min(pauseMs * 2 ** (look - 1), pauseMsMax), undefined, { signal })
      now = await missing.compare(site, signal)
    }
    for (const key of first.unknown) consider(key)
    const { behind, unknown, isLate } = leftOf(first, now)
    const caughtUp: CaughtUp = {
      site,
      behindAtFirst: first.behind.length,
      unknownAtFirst: first.unknown.length,
      behind: behind.length,
      unknown: unknown.length,
      seconds: Number(((performance.now() - startMs) / 1000).toFixed(3)),
      time: new Date().toISOString(),
    }
    if (isLate) {
      this.#done.set(site, caughtUp)
      const late = behind.map((one) => `${one.site} before ${one.there}`).join(', ')
      throw new AppError(
        'STORE_UNAVAILABLE',
        `what ${site} has does not come in: ${late || `${unknown.length} roots`}`,
        {
          hint: 'see `stowage missing`; is the leaf link up in both directions?',
        },
      )
    }
    return caughtUp
  }
}

/** What there was at first and is not here yet: more comes all the time. */
function leftOf(first: Comparison, now: Comparison) {
  const hereNow = new Map(now.behind.map(({ site, here }) => [site, here]))
  const unknownNow = new Set(now.unknown)
  const behind = first.behind.filter(({ site, there }) => (hereNow.get(site) ?? there) < there)
  const unknown = first.unknown.filter((key) => unknownNow.has(key))
  return { behind, unknown, isLate: behind.length > 0 || unknown.length > 0 }
}
