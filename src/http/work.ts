import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AppError } from '../errors.ts'
import { type Connection, connectionOf } from './connection.ts'
import type { Timed } from './time-watch.ts'

/** What has gone out of a reply's body, also when it fails halfway. */
export interface Sent {
  bytes: number
}

/** One request on its way, for whoever is told how it ended. */
export class Work implements Timed {
  readonly incoming: IncomingMessage
  readonly response: ServerResponse
  readonly connection: Connection
  /** The client whose request it is, where requests are counted by client. */
  readonly client: string | undefined
  readonly beganMs = performance.now()
  readonly sent: Sent = { bytes: 0 }
  /** Whether it counts among the requests that are worked on. */
  admitted = false

  constructor(incoming: IncomingMessage, response: ServerResponse, client: string | undefined) {
    this.incoming = incoming
    this.response = response
    this.connection = connectionOf(incoming.socket)
    this.client = client
  }

  sentBytes(): number {
    return this.sent.bytes
  }

  waitingForClient(): boolean {
    return this.response.writableLength > 0
  }

  end(reason: AppError): void {
    this.connection.abort(reason)
  }
}
