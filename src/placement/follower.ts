import type { FoldMarks } from '../events/fold-mark.ts'
import type { LogGuard } from '../events/log-guard.ts'
import { onAbort } from '../lib/on-abort.ts'
import type { LogMessage } from '../names/name-fold.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import type { LogReader } from '../nats/log-reader.ts'
import type { Facts } from './facts.ts'
import { type RootEffect, rootEffects } from './fold.ts'
import { positionKey } from './fold-position.ts'
import type { RootFacts } from './model.ts'

export interface FollowerParts {
  readonly reader: Pick<LogReader, 'from'>
  readonly facts: Pick<Facts, 'apply'>
  /** Holds the position. */
  readonly bucket: Pick<KvBucket, 'get' | 'write'>
  readonly domain: string
  readonly space: string
  /** A root of which the log has told something new. */
  readonly onRoot: (key: string, facts: RootFacts) => void
  /** The events of the space, in order, before their roots: for what is not about one root. */
  readonly onMessages: (messages: readonly LogMessage[]) => Promise<void>
  /** Whether the log may be folded: while it is not what was folded so far, nothing is. Without it, it always may. */
  readonly guard?: Pick<LogGuard, 'fault' | 'seen'>
  /** Told of what was folded. */
  readonly marks?: Pick<FoldMarks, 'folded'>
}

const batchMax = 256
const idleMs = 2_000
/** Events that follow each other closely are folded together. */
const gatherMs = 25
/** To fold events twice does no harm, and to write down each step costs more than that. */
const eventsUnwrittenMax = 2_048
const writeEveryMs = 1_000

/**
 * Folds the log of the domain into the facts of its roots, in the log's order, from where the last one stopped. To be run
 * by one node of a site at a time (`Lease`); two at a time do no harm.
 */
export class Follower {
  readonly #parts: FollowerParts
  readonly #waiters = new Set<() => void>()
  #wake: (() => void) | undefined
  #isAwake = false
  /** Of the position in its bucket. */
  #lastSeq = 0
  #written = 0
  #writtenMs = 0
  #unwritten = 0
  /** Sequence in the local log up to which the facts are. */
  position = 0
  /** The end of the log was met since it began to run. */
  isCaughtUp = false

  constructor(parts: FollowerParts) {
    this.#parts = parts
  }

  /** There may be something new in the log. */
  wake(): void {
    this.#isAwake = true
    this.#wake?.()
  }

  /** The position was taken out of its bucket, and all is to be folded again. */
  again(): void {
    this.#written = -1
    this.#writtenMs = 0
    this.wake()
  }

  /** Until the facts are as new as this sequence of the local log; it has to be one of the space's. */
  async reached(sequence: number, signal: AbortSignal): Promise<void> {
    while (this.position < sequence) {
      signal.throwIfAborted()
      await new Promise<void>((resolve) => {
        const end = () => {
          this.#waiters.delete(end)
          release()
          resolve()
        }
        const release = onAbort(signal, end)
        this.#waiters.add(end)
        this.wake()
      })
    }
  }

  /** Until the signal aborts. @throws AppError STORE_UNAVAILABLE; the signal's reason */
  async run(signal: AbortSignal): Promise<void> {
    this.isCaughtUp = false
    await this.#begin(signal)
    for (let woken = true; !signal.aborted; ) {
      this.#isAwake = false
      const before = this.position
      await this.#catchUp(signal)
      // Also where more comes all the time, so that no pass finds nothing.
      this.isCaughtUp = true
      const isIdle = this.position === before
      if ((isIdle && !woken) || performance.now() - this.#writtenMs > writeEveryMs) await this.#write(signal)
      woken = await this.#pause(isIdle ? idleMs : gatherMs, isIdle, signal)
    }
  }

  /** Whoever waits looks again, whether this node folded it or another one. */
  #moveTo(position: number): void {
    this.position = position
    for (const wake of [...this.#waiters]) wake()
  }

  async #begin(signal: AbortSignal): Promise<void> {
    const stored = await this.#parts.bucket.get(this.#key, signal)
    const position = stored === undefined || stored.removed ? 0 : Number(stored.value.toString('utf8'))
    // What nobody can read is as good as nothing: all of it is folded again, which changes nothing.
    this.#moveTo(Number.isSafeInteger(position) && position > 0 ? position : 0)
    this.#written = this.position
    this.#unwritten = 0
    this.#lastSeq = stored?.seq ?? 0
  }

  async #catchUp(signal: AbortSignal): Promise<void> {
    const { reader, domain, space, guard } = this.#parts
    if (guard?.fault !== undefined) return
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
    const { facts, onMessages, onRoot } = this.#parts
    await onMessages(batch)
    const byRoot = new Map<string, RootEffect[]>()
    for (const effect of batch.flatMap(rootEffects)) {
      const effects = byRoot.get(effect.key)
      if (effects === undefined) byRoot.set(effect.key, [effect])
      else effects.push(effect)
    }
    const changed = byRoot.size === 0 ? [] : await facts.apply(byRoot, signal)
    for (const [key, known] of changed) onRoot(key, known)
    const newest = batch.at(-1)
    if (newest !== undefined) this.#parts.marks?.folded(['placement', 'policy'], newest)
    this.#moveTo(newest?.sequence ?? this.position)
    this.#unwritten += batch.length
    if (this.#unwritten >= eventsUnwrittenMax) await this.#write(signal)
  }

  /** After the facts, never before: what is behind the position is not folded again. */
  async #write(signal: AbortSignal): Promise<void> {
    const { bucket } = this.#parts
    if (this.position > this.#written) {
      const seq = await bucket.write(this.#key, Buffer.from(String(this.position)), this.#lastSeq)
      if (seq === undefined) {
        // Another node folds too, or our own write was taken without our knowing: go on where the bucket is.
        await this.#begin(signal)
        return
      }
      this.#lastSeq = seq
      this.#written = this.position
    }
    this.#unwritten = 0
    this.#writtenMs = performance.now()
  }

  get #key(): string {
    return positionKey(this.#parts.space)
  }

  /**
   * Until there may be something new (`wakes`), or a while has passed: a message of the server may be lost.
   * @returns whether there may be something new
   */
  async #pause(ms: number, wakes: boolean, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted || (wakes && this.#isAwake)) return true
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer)
        release()
        resolve()
      }
      const timer = setTimeout(end, ms)
      const release = onAbort(signal, end)
      if (wakes) this.#wake = end
    })
    this.#wake = undefined
    return this.#isAwake || !wakes
  }
}
