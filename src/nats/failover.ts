import { createInbox, type NatsConnection } from '@nats-io/transport-node'
import type { Logger } from 'pino'
import type { Access } from './access.ts'
import { RequestMux, type Requests } from './requests.ts'
import { WireConnection } from './wire-connection.ts'

/** A connection that can be at another server of the list. */
export interface Movable {
  readonly name: string
  /** Whether the server that it is at answers for JetStream. */
  readonly answers: () => Promise<boolean>
  /** The connection is lost and made again, at `server` where it can choose. */
  readonly moveTo: (server: string) => Promise<void>
}

/** Answered by the cluster's leader; a server that is cut off from it says that JetStream is not available, or nothing. */
const probeSubject = '$JS.API.INFO'
const probeMs = 2_000
const probeEveryMs = 4_000
/** Elections of the cluster take some seconds, and are over by then. */
const failuresMax = 2
const nothing = new Uint8Array()

/**
 * Moves connections away from a server that lives but is cut off from its cluster: TCP and pings are well there, and nothing is
 * ever done. A connection moves only when another server of the list answers, so that an outage of all of them moves nothing.
 */
export class Failover {
  readonly #access: Access
  readonly #connections: readonly Movable[]
  readonly #log: Logger
  readonly #failures = new Map<Movable, number>()
  readonly #timer: NodeJS.Timeout
  #looking: Promise<void> | undefined

  constructor(access: Access, connections: readonly Movable[], log: Logger) {
    this.#access = access
    this.#connections = connections
    this.#log = log
    this.#timer = setInterval(() => {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined
      })
    }, probeEveryMs)
    this.#timer.unref()
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#looking
  }

  async #look(): Promise<void> {
    await Promise.all(
      this.#connections.map(async (connection) => {
        const failures = (await connection.answers()) ? 0 : (this.#failures.get(connection) ?? 0) + 1
        this.#failures.set(connection, failures)
      }),
    )
    const stuck = this.#connections.filter((connection) => (this.#failures.get(connection) ?? 0) >= failuresMax)
    if (stuck.length === 0) return
    const better = await this.#firstThatAnswers()
    if (better === undefined) return
    for (const connection of stuck) {
      // Where it comes to next is asked once before it moves on.
      this.#failures.set(connection, failuresMax - 1)
      this.#log.warn({ connection: connection.name }, 'the NATS server does not answer for JetStream, another one does')
      await connection.moveTo(better)
    }
  }

  async #firstThatAnswers(): Promise<string | undefined> {
    const answers = await Promise.all(this.#access.servers.map((server) => this.#answersAt(server)))
    return this.#access.servers.find((_, index) => answers[index])
  }

  async #answersAt(server: string): Promise<boolean> {
    let requests: RequestMux | undefined
    const ignored = () => undefined
    const options = { ...this.#access, servers: [server], name: 'stowage-probe', connectMs: probeMs }
    const channel = await WireConnection.open(options, createInbox(), {
      onMessage: (message) => requests?.dispatch(message),
      onLost: (reason) => requests?.failAll(reason),
      onRestored: ignored,
      onForbidden: ignored,
    }).catch(() => undefined)
    if (channel === undefined) return false
    requests = new RequestMux(channel)
    try {
      return await wireAnswers(requests)
    } finally {
      requests.close()
      await channel.close()
    }
  }
}

/** For a connection of ours. */
export async function wireAnswers(requests: Requests): Promise<boolean> {
  try {
    return isAnswer((await requests.one(probeSubject, nothing, undefined, probeMs)).data)
  } catch {
    // No reply, or nobody there: that is the answer.
    return false
  }
}

/** nats.js chooses the next server itself; it may begin with the one that it has. */
export function movableControl(control: NatsConnection): Movable {
  return {
    name: 'control',
    answers: async () => {
      try {
        return isAnswer((await control.request(probeSubject, nothing, { timeout: probeMs })).data)
      } catch {
        return false
      }
    },
    moveTo: () => control.reconnect(),
  }
}

function isAnswer(data: Uint8Array): boolean {
  try {
    const reply = JSON.parse(Buffer.from(data).toString('utf8')) as { readonly error?: unknown }
    return reply.error === undefined
  } catch {
    return false
  }
}
