import type { LogMessage } from '../names/name-fold.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import type { LogReader } from '../nats/log-reader.ts'
import type { Facts } from './facts.ts'
import { type RootEffect, rootEffects } from './fold.ts'
import type { RootFacts } from './model.ts'

export interface FollowerParts {
  readonly reader: LogReader
  readonly facts: Facts
  /** Holds the position. */
  readonly bucket: KvBucket
  readonly domain: string
  readonly space: string
  /** A root of which the log has told something new. */
  readonly onRoot: (key: string, facts: RootFacts) => void
  /** The events of the space, in order, before their roots: for what is not about one root. */
  readonly onMessages: (messages: readonly LogMessage[]) => Promise<void>
}

const batchMax = 256
const idleMs = 2_000
const rootsAtOnce = 32

/**
 * Folds the log of the domain into the facts of its roots, in the log's order, from where the last one stopped. To be run
 * by one node of a site at a time (`Lease`); two at a time do no harm.
 */
export class Follower {
  readonly #parts: FollowerParts
  #wake: (() => void) | undefined
  /** Sequence in the local log up to which the facts are. */
  position = 0

  constructor(parts: FollowerParts) {
    this.#parts = parts
  }

  /** There may be something new in the log. */
  wake(): void {
    this.#wake?.()
  }

  /** Until the signal aborts. @throws AppError STORE_UNAVAILABLE; the signal's reason */
  async run(signal: AbortSignal): Promise<void> {
    const key = `${this.#parts.space}.position`
    const stored = await this.#parts.bucket.get(key, signal)
    this.position = stored === undefined || stored.removed ? 0 : Number(stored.value.toString('utf8'))
    let lastSeq = stored?.seq ?? 0
    while (!signal.aborted) {
      const before = this.position
      await this.#catchUp(signal)
      if (this.position > before) {
        const seq = await this.#parts.bucket.write(key, Buffer.from(String(this.position)), lastSeq)
        // Somebody else is ahead: begin again where that one is.
        if (seq === undefined) return
        lastSeq = seq
      }
      await this.#pause(signal)
    }
  }

  async #catchUp(signal: AbortSignal): Promise<void> {
    const { reader, domain, space } = this.#parts
    let batch: LogMessage[] = []
    for await (const message of reader.from(`${domain}.evt.*.${space}.>`, this.position + 1, signal)) {
      batch.push(message)
      if (batch.length < batchMax) continue
      await this.#project(batch, signal)
      batch = []
    }
    if (batch.length > 0) await this.#project(batch, signal)
  }

  async #project(batch: readonly LogMessage[], signal: AbortSignal): Promise<void> {
    await this.#parts.onMessages(batch)
    const byRoot = new Map<string, RootEffect[]>()
    for (const effect of batch.flatMap(rootEffects)) {
      const effects = byRoot.get(effect.key)
      if (effects === undefined) byRoot.set(effect.key, [effect])
      else effects.push(effect)
    }
    const roots = [...byRoot]
    for (let at = 0; at < roots.length; at += rootsAtOnce) {
      await Promise.all(
        roots.slice(at, at + rootsAtOnce).map(async ([key, effects]) => {
          const facts = await this.#parts.facts.apply(key, effects, signal)
          if (facts !== undefined) this.#parts.onRoot(key, facts)
        }),
      )
    }
    this.position = batch.at(-1)?.sequence ?? this.position
  }

  /** Until there may be something new, or a while has passed: a message of the server may be lost. */
  async #pause(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, idleMs)
      signal.addEventListener('abort', end)
      this.#wake = end
    })
    this.#wake = undefined
  }
}
