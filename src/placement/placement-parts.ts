import type { Stores } from '../blocks/stores.ts'
import type { LayoutConfig, PlacementConfig } from '../config.ts'
import type { DagLimits } from '../dag/target.ts'
import type { AppError } from '../errors.ts'
import type { EventSource } from '../events/envelope.ts'
import type { FoldMarks } from '../events/fold-mark.ts'
import type { EventLog } from '../events/log.ts'
import type { LogGuard } from '../events/log-guard.ts'
import type { Names } from '../names/names.ts'
import type { Nats } from '../nats/connection.ts'
import type { Bulk } from './bulk.ts'
import type { RootFacts } from './model.ts'

export interface PlacementParts {
  readonly nats: Nats
  readonly layout: LayoutConfig
  readonly config: PlacementConfig
  readonly stores: Stores
  /** Closed with placement. */
  readonly bulk: Bulk & { close(): Promise<void> }
  readonly eventLog: EventLog
  /** What watches over the log. */
  readonly folded: { readonly guard: LogGuard; readonly marks: FoldMarks }
  readonly auditEveryMs: number
  readonly names: Names
  readonly source: EventSource
  readonly limits: DagLimits
  readonly waitMs: number
  /** Of the disk of the embedded server; undefined = not known. */
  readonly freeBytes: () => number | undefined
  /** Has the log of another site come in. May be done again. */
  readonly joinLog: (peer: { readonly site: string; readonly jetstreamDomain: string }) => Promise<void>
  /** Content of which no whole copy is left anywhere. */
  readonly onLoss: (facts: RootFacts, failure: AppError) => void
  /** A projection was lost, and is folded anew. */
  readonly onRemade: (index: string, reason: string) => void
  /** Trouble in the background that no event tells of. */
  readonly onTrouble: (error: unknown) => void
}
