import type { Logger } from 'pino'
import type { DeadLetterLog } from '../content/dead-letter.ts'
import type { WorkQueue } from '../nats/work-queue.ts'
import { pausesMsDefault, startQueue } from './queue.ts'
import { type ServiceConfig, type ServiceParts, startService } from './service.ts'

export interface CommsParts extends ServiceParts {
  readonly queue: WorkQueue
  readonly deadLetters: DeadLetterLog
  readonly log: Pick<Logger, 'warn' | 'error'>
}

export interface CommsOptions extends ServiceConfig {
  /** Before the second, third … try of a queued command. */
  readonly pausesMs?: readonly number[]
}

export interface Comms {
  /** Of the service in `nats micro info`. */
  readonly serviceId: string
  /** Takes nothing more; what is under way may finish within `graceMs`, then it is ended. */
  close(options: { readonly graceMs: number }): Promise<void>
}

/** All that a node does on NATS subjects: queries, commands, and the queue of commands. */
export async function startComms(parts: CommsParts, options: CommsOptions): Promise<Comms> {
  const ending = new AbortController()
  const { comms, layout } = options
  const service = await startService(parts, options, ending.signal)
  const queue = startQueue(
    {
      ...parts,
      handlers: service.commands,
      commandAccess: comms.commandAccess,
      subjects: { domain: layout.domain, space: layout.space },
      payloadBytesMax: parts.messaging.payloadBytesMax,
    },
    { ...comms, pausesMs: options.pausesMs ?? pausesMsDefault },
    ending.signal,
  )
  return {
    serviceId: service.id,
    close: async ({ graceMs }) => {
      const timer = setTimeout(() => ending.abort(new Error('the node is closing')), graceMs)
      try {
        await Promise.all([service.stop(), queue.stop()])
      } finally {
        clearTimeout(timer)
      }
    },
  }
}
