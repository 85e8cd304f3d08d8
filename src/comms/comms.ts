import { setTimeout as delay } from 'node:timers/promises'
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

/** For what was ended to say so. */
const afterAbortMs = 1_000

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
      const waiting = new AbortController()
      const { signal } = waiting
      const late = async (): Promise<void> => {
        await delay(graceMs, undefined, { signal })
        ending.abort(new Error('the node is closing'))
        await delay(afterAbortMs, undefined, { signal })
      }
      await Promise.race([
        Promise.all([service.stop(), queue.stop()]),
        // Its own end, when the work is done first.
        late().catch(() => undefined),
      ])
      waiting.abort()
    },
  }
}
