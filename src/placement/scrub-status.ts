import type { RepairCounts } from './repair.ts'
import { noSums, type ScrubStatus, type ScrubSums } from './scrub-record.ts'

/** For `/api/v1/status`. */
export interface ScrubReport {
  /** By store: sums of the round under way, else of the last full one. */
  readonly stores: Readonly<Record<string, StoreReport>>
  /** Of this node, since its start. */
  readonly node: RepairCounts
}

interface StoreReport extends ScrubSums {
  /** `shard 2, message 4711`; undefined between two rounds. */
  readonly position: string | undefined
  readonly lastFullRound: string | undefined
}

export function scrubReport(stores: readonly ScrubStatus[], node: RepairCounts): ScrubReport {
  const reports = stores.map(({ store, round, last }): [string, StoreReport] => {
    const at = round?.phase === 'blocks' ? `shard ${round.shard}, message ${round.sequence}` : 'roots'
    const position = round === undefined ? undefined : at
    return [store, { ...(round?.sums ?? last?.sums ?? noSums), position, lastFullRound: last?.finishedAt }]
  })
  return { stores: Object.fromEntries(reports), node }
}
