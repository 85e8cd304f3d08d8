import { isAppError } from '../errors.ts'
import { type EventSource, encodeEvent } from '../events/envelope.ts'
import type { EventLog } from '../events/log.ts'

/** A stored command that was given up. */
export interface DeadLetterRecord {
  /** Of the event: the same however often it is recorded. */
  readonly id: string
  /** Of the message. */
  readonly messageId: string
  readonly command: string
  readonly subject: string
  readonly code: number
  readonly message: string
  readonly deliveries: number
  readonly queueSequence: number
  readonly deadSequence: number
}

export interface DeadLetterLog {
  /** Resolves when the event is durable. @throws AppError STORE_FULL | STORE_UNAVAILABLE */
  record(letter: DeadLetterRecord): Promise<void>
}

/** `message.dead` in the event log. */
export function createDeadLetterLog(log: Pick<EventLog, 'append'>, source: EventSource): DeadLetterLog {
  return {
    record: async ({ id, messageId, message, ...rest }) => {
      const context = {
        id,
        correlation: messageId,
        causation: messageId,
        owner: 'stowage',
        principal: 'stowage',
        via: 'node',
        traceparent: undefined,
      } as const
      const draft = {
        entity: 'message',
        verb: 'dead',
        key: id,
        subject: messageId,
        data: { ...rest, reason: message },
      } as const
      try {
        await log.append([{ event: encodeEvent(draft, context, source, id) }])
      } catch (error) {
        // Recorded by the try before, which did not come to its acknowledgement.
        if (!isAppError(error, 'COMMAND_REPEATED')) throw error
      }
    },
  }
}
