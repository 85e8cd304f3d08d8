import type { LogRecovery } from '../names/log-recovery.ts'

export type { Acceptance, LogStatus } from '../names/log-recovery.ts'

/** The event log as who keeps the node sees it: whether it is whole, and what to do when it is not. */
export type LogMaintenance = Pick<LogRecovery, 'status' | 'accept'>
