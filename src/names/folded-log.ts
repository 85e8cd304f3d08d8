import type { LayoutConfig } from '../config.ts'
import type { AppError } from '../errors.ts'
import { FoldMarks } from '../events/fold-mark.ts'
import { EventLog } from '../events/log.ts'
import type { LogFault } from '../events/log-fault.ts'
import { LogGuard } from '../events/log-guard.ts'
import type { Nats } from '../nats/connection.ts'
import { projectorName } from './projector.ts'

export interface FoldedLog {
  readonly log: EventLog
  /** Is written whatever is wrong with the log: for what a person says about that. */
  readonly unguarded: EventLog
  readonly guard: LogGuard
  readonly marks: FoldMarks
  close(): Promise<void>
}

export interface FoldedLogOptions {
  readonly stream: string
  readonly layout: LayoutConfig
  readonly waitMs: number
  /** As `EventLog` takes it. */
  readonly refusal?: () => AppError | undefined
  readonly onFault: (fault: LogFault | undefined) => void
  readonly onAdopted: (epoch: string) => void
}

/**
 * The event log, what watches over it, and what ties the projections to it. Before anything is folded it is known whether the log
 * is the one that they were folded from.
 * @throws AppError STORE_UNAVAILABLE
 */
export async function openFoldedLog(nats: Nats, options: FoldedLogOptions): Promise<FoldedLog> {
  const { stream, layout, waitMs, refusal, onFault, onAdopted } = options
  const consumer = projectorName(layout.site, layout.space)
  const guard = await LogGuard.open({ nats, stream, waitMs, consumer, onFault, onAdopted })
  const marks = await FoldMarks.open(nats, layout, waitMs, () => guard.identity.epoch)
  guard.watch(marks)
  await guard.check({ thorough: true })
  guard.start()
  return {
    log: new EventLog(nats, stream, waitMs, { guard, ...(refusal === undefined ? {} : { refusal }) }),
    unguarded: new EventLog(nats, stream, waitMs),
    guard,
    marks,
    close: async () => {
      await marks.close()
      await guard.close()
    },
  }
}
