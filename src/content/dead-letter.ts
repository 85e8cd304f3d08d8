import { isAppError } from '../errors.ts'
import { type Context, type EventSource, encodeEvent } from '../events/envelope.ts'
import type { EventLog } from '../events/log.ts'

/** A stored command that was given up. */
export interface DeadLetterRecord {
  /** Who sent the message, and in what undertaking; undefined where it cannot be told. */
  readonly origin: Pick<Context, 'correlation' | 'owner' | 'principal' | 'via' | 'traceparent'> | undefined
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

const ownAct = (messageId: string): NonNullable<DeadLetterRecord['origin']> => ({
  correlation: messageId,
  owner: 'stowage',
  principal: 'stowage',
  via: 'node',
  traceparent: undefined,
})

/** `message.dead` in the event log. */
export function createDeadLetterLog(log: Pick<EventLog, 'append'>, source: EventSource): DeadLetterLog {
  return {
    record: async ({ id, messageId, message, origin, ...rest }) => {
      const context: Context = { ...(origin ?? ownAct(messageId)), id, causation: messageId }
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
