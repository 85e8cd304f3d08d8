import type { Abortable } from '../blocks/blockstore.ts'
import type { Names } from '../names/names.ts'
import { type Difference, rebuildIndex, verifyIndex } from '../names/rebuild.ts'

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
  readonly repaired: boolean
}

/** The indexes of names and deletions against the event log that they are made from. Both may run beside writers. */
export interface IndexMaintenance {
  /** @throws AppError STORE_UNAVAILABLE; the signal's reason */
  verify(options: Abortable & { readonly repair: boolean }): Promise<IndexReport>
  /** Until it is done, names are missing from listings. @throws as verify */
  rebuild(options: Abortable): Promise<{ readonly events: number; readonly keys: number }>
}

const examplesMax = 100

export function createIndexMaintenance(names: Names): IndexMaintenance {
  return {
    verify: async ({ repair, signal }) => {
      const { differences, events, keys, skipped } = await verifyIndex(names, { repair, signal })
      const none = differences.length === 0
      return {
        ok: none || repair,
        events,
        keys,
        skipped,
        differences: differences.length,
        examples: differences.slice(0, examplesMax),
        repaired: repair && !none,
      }
    },
    rebuild: ({ signal }) => rebuildIndex(names, signal),
  }
}
