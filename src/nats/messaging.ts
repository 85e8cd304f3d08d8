import { headers as newHeaders } from '@nats-io/transport-node'
import type { Nats } from './connection.ts'

/** A message as its receiver sees it. */
export interface Incoming {
  readonly subject: string
  /** Where an answer is expected; undefined = none is. */
  readonly reply: string | undefined
  /** Names in lower case; of several values the first. Undefined when the header block cannot be read. */
  readonly headers: ReadonlyMap<string, string> | undefined
  /** A view of the receive buffer: copy what is kept. */
  readonly data: Uint8Array
}

export interface Outgoing {
  readonly data?: Uint8Array | string
  readonly headers?: Readonly<Record<string, string>>
  readonly reply?: string
}

/** Plain NATS, at most once: what the services are made of. */
export interface Messaging {
  /** Calls `receive` with every message until `stop`. With a queue, one of its members gets each. */
  listen(subject: string, queue: string | undefined, receive: (message: Incoming) => void): { stop(): void }
  /** @throws Error above the server's max_payload, or when the connection is closed */
  send(subject: string, message: Outgoing): void
  /** Resolves when the server has all that was sent and subscribed so far. */
  flush(): Promise<void>
  /** Largest message in bytes, headers included. */
  readonly payloadBytesMax: number
}

export function createMessaging({ control, payloadBytesMax }: Pick<Nats, 'control' | 'payloadBytesMax'>): Messaging {
  return {
    payloadBytesMax,
    listen: (subject, queue, receive) => {
      const subscription = control.subscribe(subject, {
        ...(queue === undefined ? {} : { queue }),
        // An error is the subscription's end (refused by permissions): the connection's watch reports it.
        callback: (error, message) => {
          if (error !== null) return
          const { subject, data } = message
          // The client has an empty subject where none was sent.
          const reply = message.reply === '' ? undefined : message.reply
          receive({ subject, reply, headers: headersOf(message), data })
        },
      })
      return { stop: () => subscription.unsubscribe() }
    },
    send: (subject, { data, headers, reply }) => {
      control.publish(subject, data, {
        ...(headers === undefined ? {} : { headers: encode(headers) }),
        ...(reply === undefined ? {} : { reply }),
      })
    },
    flush: () => control.flush(),
  }
}

/** As a status line of the server: nobody listens on the subject that the message was sent to. */
export const noResponders = '503'

export interface HeaderSource {
  readonly headers?: (Iterable<[string, string[]]> & { readonly code: number }) | undefined
}

/** `:status` holds the server's status, where the message is one. */
export function headersOf(message: HeaderSource): ReadonlyMap<string, string> | undefined {
  const found = new Map<string, string>()
  try {
    const { headers } = message
    if (headers === undefined) return found
    if (headers.code > 0) found.set(':status', String(headers.code))
    for (const [name, [value]] of headers) {
      if (value !== undefined && !found.has(name.toLowerCase())) found.set(name.toLowerCase(), value)
    }
    return found
  } catch {
    // Decoded when first asked for; a block that is none throws here, and the receiver refuses the message.
    return undefined
  }
}

export function encode(values: Readonly<Record<string, string>>) {
  const encoded = newHeaders()
  for (const [name, value] of Object.entries(values)) encoded.set(name, headerValue(value))
  return encoded
}

/** A header is one line: control characters become spaces. All else goes as UTF-8. */
export function headerValue(value: string): string {
  return value.toWellFormed().replaceAll(/\p{Cc}+/gu, ' ')
}
