import { setImmediate as breathe } from 'node:timers/promises'
import { unlessAborted } from '../lib/unless-aborted.ts'
import type { Facts } from './facts.ts'
import { SortedKeys } from './range-digest.ts'

const keptMsMin = 1_000
/** Reading goes on for no more than this share of the time, however often somebody asks. */
const shareMax = 1 / 10
/** Some 90 bytes a key: not kept for those who do not ask again. */
const idleMs = 60_000

/** The keys of all roots that are known here, sorted. Read when somebody asks, by one at a time, and kept for a while. */
export class RootKeys {
  readonly #facts: Pick<Facts, 'all'>
  readonly #stop = new AbortController()
  #kept: { readonly keys: SortedKeys; readonly untilMs: number } | undefined
  #reading: Promise<SortedKeys> | undefined
  #idle: NodeJS.Timeout | undefined

  constructor(facts: Pick<Facts, 'all'>) {
    this.#facts = facts
  }

  /** @throws AppError STORE_UNAVAILABLE; the signal's reason */
  current(signal: AbortSignal): Promise<SortedKeys> {
    clearTimeout(this.#idle)
    this.#idle = setTimeout(() => {
      this.#kept = undefined
    }, idleMs).unref()
    if (this.#kept !== undefined && performance.now() < this.#kept.untilMs) return Promise.resolve(this.#kept.keys)
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined
    })
    return unlessAborted(this.#reading, signal)
  }

  close(): void {
    clearTimeout(this.#idle)
    this.#stop.abort(new Error('the node stops'))
  }

  async #read(): Promise<SortedKeys> {
    const startMs = performance.now()
    const keys: string[] = []
    for await (const page of this.#facts.all(this.#stop.signal)) {
      // What only copies are known of was not announced here yet.
      for (const [key, { originSite }] of page) if (originSite !== '') keys.push(key)
      await breathe()
    }
    const sorted = SortedKeys.of(keys)
    const endMs = performance.now()
    this.#kept = { keys: sorted, untilMs: endMs + Math.max(keptMsMin, (endMs - startMs) / shareMax) }
    return sorted
  }
}
