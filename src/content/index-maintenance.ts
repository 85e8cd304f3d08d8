import type { Abortable } from '../blocks/blockstore.ts'
import type { IndexKeeper } from '../names/index-keeper.ts'
import type { Difference } from '../names/rebuild.ts'

export type { Difference } from '../names/rebuild.ts'

export interface IndexReport {
  /** The indexes are now what the log says. */
  readonly ok: boolean
  /** Up to which event the log was read. */
  readonly events: number
  readonly keys: number
  /** Messages in the log that are no events of ours. */
  readonly skipped: number
  readonly differences: number
  /** The first of them. */
  readonly examples: readonly Difference[]
  /** Indexes that were gone or could not be read, and why; with repair they were made anew. */
  readonly damaged: readonly { readonly index: string; readonly reason: string }[]
  readonly repaired: boolean
}

/** The indexes of names, references, deletions, IPNS and outcomes against the event log that they are made from; beside writers. */
export interface IndexMaintenance {
  /** @throws AppError STORE_UNAVAILABLE; LOG_DAMAGED with `repair`; the signal's reason */
  verify(options: Abortable & { readonly repair: boolean }): Promise<IndexReport>
  /** Until it is done, names are not listed. @throws as verify, always with `repair` */
  rebuild(options: Abortable): Promise<{ readonly events: number; readonly keys: number }>
}

const examplesMax = 100

export function createIndexMaintenance(keeper: Pick<IndexKeeper, 'audit' | 'remakeAll'>): IndexMaintenance {
  return {
    verify: async ({ repair, signal }) => {
      const { differences, events, keys, skipped, remade } = await keeper.audit({ repair, signal })
      const none = differences.length === 0 && remade.length === 0
      return {
        ok: none || repair,
        events,
        keys,
        skipped,
        differences: differences.length,
        examples: differences.slice(0, examplesMax),
        damaged: remade,
        repaired: repair && !none,
      }
    },
    rebuild: async ({ signal }) => {
      const { events, keys } = await keeper.remakeAll(signal)
      return { events, keys }
    },
  }
}
