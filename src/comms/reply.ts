import { AppError, errorBody, isAppError, statusOf } from '../errors.ts'
import { KiB } from '../lib/units.ts'
import type { Messaging, Outgoing } from '../nats/messaging.ts'
import { isReplySubject } from '../nats/micro-service.ts'
import { header } from './protocol.ts'

/** Where the answers to one message go. */
export interface Requester {
  /** False when no answer is expected, or none may be sent where it is. */
  readonly listens: boolean
  send(message: Outgoing): void
}

/**
 * The reply subject is the requester's choice, and we may publish where it may not: never to what the server, JetStream or
 * Stowage itself reads commands and events from.
 */
export function requesterOf(messaging: Messaging, domain: string, reply: string | undefined): Requester {
  const listens = reply !== undefined && isReplySubject(reply) && !reply.startsWith(`${domain}.`)
  return {
    listens,
    send: (message) => {
      if (!listens) return
      const bytes = Buffer.byteLength(message.data ?? '')
      if (bytes <= messaging.payloadBytesMax - headRoomBytes) messaging.send(reply, message)
      else messaging.send(reply, errorReply(tooLarge(bytes)))
    },
  }
}

/** For the headers of a message: they count towards max_payload. */
export const headRoomBytes = 4 * KiB

const tooLarge = (bytes: number) =>
  new AppError('LIMIT_EXCEEDED', `the reply has ${bytes} bytes, more than NATS takes in one message`, {
    hint: 'ask for fewer entries',
  })

export interface Failure {
  readonly code: number
  readonly message: string
}

export const failureOf = (error: unknown): Failure => ({
  code: isAppError(error) ? statusOf[error.code] : 500,
  message: errorBody(error).message,
})

/** ADR-32's headers, and the same body as over HTTP, with what else the reader needs to go on. */
export function errorReply(error: unknown, more: Readonly<Record<string, unknown>> = {}): Outgoing {
  const { code, message } = failureOf(error)
  return {
    headers: { [header.error]: message, [header.errorCode]: String(code), [header.contentType]: 'application/json' },
    data: JSON.stringify({ ...errorBody(error), ...more }),
  }
}

export function jsonReply(value: object, headers: Readonly<Record<string, string>> = {}): Outgoing {
  return { headers: { [header.contentType]: 'application/json', ...headers }, data: JSON.stringify(value) }
}
