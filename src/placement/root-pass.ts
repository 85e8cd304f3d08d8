import { setTimeout as delay } from 'node:timers/promises'
import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import type { StoreHandle } from '../blocks/stores.ts'
import { AppError } from '../errors.ts'
import type { Pace } from './bulk.ts'
import type { IsNamed } from './contexts.ts'
import type { Facts } from './facts.ts'
import type { RootFacts } from './model.ts'
import type { Repair } from './repair.ts'
import type { ScrubSums } from './scrub-record.ts'

export interface RootPassParts {
  readonly handle: StoreHandle
  readonly facts: Pick<Facts, 'all' | 'get'>
  readonly repair: Pick<Repair, 'verifyRoot'>
  readonly isNamed: IsNamed
  readonly pace: Pace
  /** Copies that were last verified before this time are due. */
  readonly dueBeforeMs: number
  readonly onTrouble: (error: unknown) => void
}

type Progress = (sums: Pick<ScrubSums, 'roots' | 'failedRoots'>) => void | Promise<void>

/** Roots that are held in memory at a time, oldest first; more need another look through the facts. */
const rootsHeldMax = 10_000
/** So long after a copy was told to have failed, the facts know it. */
const foldedMs = 1_000

interface Due {
  readonly key: string
  readonly verifiedMs: number
}

/**
 * Verifies the copies in one store again, those first whose last verification is the longest ago. A copy that failed, and a
 * root that was lost, are tried again each time: somebody may have put it back.
 */
export class RootPass {
  readonly #parts: RootPassParts
  readonly #at: StoreRef
  readonly #done = new Set<string>()

  constructor(parts: RootPassParts) {
    this.#parts = parts
    this.#at = { site: parts.handle.site, store: parts.handle.store }
  }

  async run(signal: AbortSignal, onProgress: Progress): Promise<void> {
    const failed: string[] = []
    for (;;) {
      const due = await this.#due(signal)
      for (const { key } of due) {
        const isWhole = await this.#verify(key, signal)
        if (isWhole === undefined) continue
        if (!isWhole) failed.push(key)
        await onProgress({ roots: isWhole ? 1 : 0, failedRoots: isWhole ? 0 : 1 })
      }
      if (due.length < rootsHeldMax) break
    }
    if (failed.length === 0) return
    // Several copies may have failed at a time, and none of them saw that it was the last one.
    await delay(foldedMs, undefined, { signal })
    for (const key of failed) await this.#verify(key, signal)
  }

  /** @returns undefined for a root that is not to be here any more, or could not be judged */
  async #verify(key: string, signal: AbortSignal): Promise<boolean | undefined> {
    const { facts, repair, handle, pace, onTrouble } = this.#parts
    this.#done.add(key)
    const now = await facts.get(key, signal)
    if (now === undefined || this.#copyIn(now) === undefined || !(await this.#isInView(now, signal))) return undefined
    try {
      return await repair.verifyRoot(handle, now, { signal, pace })
    } catch (error) {
      if (signal.aborted || (error instanceof AppError && error.code === 'STORE_UNAVAILABLE')) throw error
      // A DAG beyond our limits must not end the pass for all others.
      onTrouble(error)
      return undefined
    }
  }

  async #due(signal: AbortSignal): Promise<Due[]> {
    const { facts, dueBeforeMs } = this.#parts
    let due: Due[] = []
    const oldestFirst = () => due.sort((a, b) => a.verifiedMs - b.verifiedMs).slice(0, rootsHeldMax)
    for await (const page of facts.all(signal)) {
      for (const [key, root] of page) {
        const copy = this.#copyIn(root)
        if (copy === undefined || this.#done.has(key)) continue
        const verifiedMs = copy.verifiedAt === undefined ? 0 : Date.parse(copy.verifiedAt)
        const isDue = verifiedMs < dueBeforeMs || copy.state === 'failed' || root.lost
        if (isDue && (await this.#isInView(root, signal))) due.push({ key, verifiedMs })
      }
      if (due.length > 2 * rootsHeldMax) due = oldestFirst()
    }
    return oldestFirst()
  }

  async #isInView(root: RootFacts, signal: AbortSignal): Promise<boolean> {
    return !root.deleted || (await this.#parts.isNamed(root, signal))
  }

  #copyIn(root: RootFacts) {
    const copy = root.copies.find((one) => storeKey(one) === storeKey(this.#at))
    return copy?.state === 'verified' || copy?.state === 'failed' ? copy : undefined
  }
}
