import { randomUUID } from 'node:crypto'
import { AppError } from '../errors.ts'
import type { Incoming, Messaging } from '../nats/messaging.ts'
import { type Subjects, transferSubject } from './protocol.ts'

/** One download or upload under way: a subject of its own, which only its client learns. */
export interface Transfer {
  readonly subject: string
  /** Frees its place; what is sent there is still received for `lingerMs`, for an answer that was lost. */
  close(options?: { readonly lingerMs: number }): void
}

/** All transfers of a node, behind one subscription. */
export interface Transfers {
  /** @throws AppError STORE_UNAVAILABLE when there are as many as allowed */
  open(receive: (message: Incoming) => void): Transfer
  /** Those under way. */
  readonly count: number
  stop(): void
}

export function openTransfers(messaging: Messaging, subjects: Subjects, transfersMax: number): Transfers {
  const prefix = transferSubject(subjects, randomUUID())
  const receivers = new Map<string, (message: Incoming) => void>()
  const subscription = messaging.listen(`${prefix}.*`, undefined, (message) =>
    receivers.get(message.subject)?.(message),
  )
  let count = 0
  return {
    get count() {
      return count
    },
    open: (receive) => {
      if (count >= transfersMax) {
        throw new AppError('STORE_UNAVAILABLE', `this node has ${transfersMax} transfers under way`, {
          hint: 'try again in a while; the setting is STOWAGE_NATS_TRANSFERS_MAX',
        })
      }
      // Unguessable: whoever knows the subject may send to it.
      const subject = `${prefix}.${randomUUID()}`
      receivers.set(subject, receive)
      count++
      return {
        subject,
        close: (options) => {
          count--
          if (options === undefined) receivers.delete(subject)
          else setTimeout(() => receivers.delete(subject), options.lingerMs).unref()
        },
      }
    },
    stop: () => {
      receivers.clear()
      subscription.stop()
    },
  }
}
