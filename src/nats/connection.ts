import { setTimeout as delay } from 'node:timers/promises'
import type { AccountLimits, JetStreamClient, JetStreamManager } from '@nats-io/jetstream'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import type { ConnectionOptions, NatsConnection, NodeConnectionOptions } from '@nats-io/transport-node'
import { connect, createInbox } from '@nats-io/transport-node'
import type { Logger } from 'pino'
import type { NatsConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import { closeWaitMs } from '../lib/settled-within.ts'
import type { Access } from './access.ts'
import { readAccess } from './access.ts'
import { Failover, movableControl, wireAnswers } from './failover.ts'
import { RequestMux, type Requests } from './requests.ts'
import { minimumServerVersion, olderThan } from './server-version.ts'
import { type StreamSizes, streamSizes } from './stream-sizes.ts'
import { WireConnection } from './wire-connection.ts'

/**
 * Three connections: `data` carries blocks, `log` events, `control` the rest. A message of 1 MiB blocks the socket for those
 * behind it, and neither an event nor a query may wait for an upload.
 */
export interface Nats {
  readonly control: NatsConnection
  readonly js: JetStreamClient
  readonly jsm: JetStreamManager
  readonly data: WireConnection
  /** Requests over `data`. */
  readonly requests: Requests
  /** For the event log: an event must not wait behind a window of blocks. */
  readonly log: { readonly channel: WireConnection; readonly requests: Requests }
  readonly serverVersion: string
  /** How large the streams may become that are made over this connection. */
  readonly sizes: StreamSizes
  /** Largest message in bytes, headers included. */
  readonly payloadBytesMax: number
  /** False while either connection is lost. */
  readonly connected: boolean
  /** Whether `close` was called: that nothing works any more is no news then. */
  readonly isClosed: boolean
  /** For good: what waits for an answer, and what is asked from now on, fails at once. */
  close(): Promise<void>
  /**
   * For the end of a node, once nobody is owed an answer any more: waits until NATS answers, for two seconds at the most, and closes
   * where it does not. Whatever is still under way would wait for it again and again, one part after the other.
   */
  closeIfAway(): Promise<void>
}

const askAgainMs = 100

const options: ConnectionOptions & NodeConnectionOptions = {
  // The defaults give up after ten attempts and notice a dead peer after four minutes.
  maxReconnectAttempts: -1,
  reconnectTimeWait: 250,
  reconnectJitter: 50,
  pingInterval: 20_000,
  timeout: 5_000,
  noAsyncTraces: true,
  // Else two refusals in a row (a rotated password) end the connection for ever.
  ignoreAuthErrorAbort: true,
}

/** @param name how the server lists the connections @throws AppError SERVER_TOO_OLD | STORE_UNAVAILABLE | SETTING_INVALID (a credentials file that cannot be read) */
export async function connectNats(url: string, config: NatsConfig, log: Logger, name = 'stowage'): Promise<Nats> {
  const access = await readAccess(url, config)
  const control = await connectControl(access, name).catch((error: unknown) => {
    throw unreachable(access, error)
  })
  try {
    const jsm = await checkServer(control)
    const sizes = streamSizes(config.streamBytes, await accountLimits(jsm))
    const wires: Wire[] = []
    try {
      for (const of of ['data', 'log']) wires.push(await connectWire(access, name, of, log))
    } catch (error) {
      for (const wire of wires) await closeWire(wire)
      throw unreachable(access, error)
    }
    const [data, events] = wires as [Wire, Wire]
    return assemble(access, control, { jsm, sizes }, { data, events }, log)
  } catch (error) {
    await control.close()
    throw error
  }
}

function connectControl({ servers, authenticate, tls }: Access, name: string): Promise<NatsConnection> {
  return connect({
    ...options,
    name: `${name}-control`,
    servers: [...servers],
    authenticator: authenticate,
    ...(tls === undefined && !servers.some((server) => server.startsWith('tls:'))
      ? {}
      : { tls: Object.fromEntries(Object.entries(tls ?? {}).map(([key, pem]) => [key, pem.toString('utf8')])) }),
  })
}

interface Wire {
  readonly channel: WireConnection
  readonly requests: RequestMux
}

async function connectWire(access: Access, prefix: string, name: string, log: Logger): Promise<Wire> {
  let requests: RequestMux | undefined
  const channel = await WireConnection.open({ ...access, name: `${prefix}-${name}` }, createInbox(), {
    onMessage: (message) => requests?.dispatch(message),
    onLost: (reason) => {
      log.warn({ connection: name }, 'connection to NATS lost')
      requests?.failAll(reason)
    },
    onRestored: () => log.info({ connection: name }, 'connection to NATS restored'),
    onForbidden: (reason) => {
      log.warn({ connection: name, reason }, 'NATS forbids a subject to us')
      requests?.forbid(/"([^"]+)"/.exec(reason)?.[1] ?? '')
    },
  })
  requests = new RequestMux(channel)
  return { channel, requests }
}

async function closeWire({ channel, requests }: Wire): Promise<void> {
  requests.close()
  await channel.close()
}

async function checkServer(control: NatsConnection): Promise<JetStreamManager> {
  const version = control.info?.version ?? '0.0.0'
  if (olderThan(version, minimumServerVersion)) {
    throw new AppError('SERVER_TOO_OLD', `nats-server ${version} is too old; ${minimumServerVersion} is needed`, {
      hint: 'upgrade the server that STOWAGE_NATS_URL names',
    })
  }
  try {
    return await jetstreamManager(control)
  } catch (error) {
    throw new AppError('STORE_UNAVAILABLE', `JetStream is not enabled for us: ${reason(error)}`, {
      cause: error,
      hint: 'start nats-server with JetStream (-js), for the account of these credentials',
    })
  }
}

/** Undefined where the account does not say: then it demands nothing that could be known before. */
async function accountLimits(jsm: JetStreamManager): Promise<AccountLimits | undefined> {
  const info = await jsm.getAccountInfo().catch(() => undefined)
  // With limits for each number of replicas those of the first will do: sizes are divided by the replicas.
  return info?.tiers === undefined ? info?.limits : (Object.values(info.tiers)[0]?.limits ?? info.limits)
}

function openFailover(access: Access, control: NatsConnection, wires: Readonly<Record<string, Wire>>, log: Logger) {
  const movable = Object.entries(wires).map(([name, { channel, requests }]) => ({
    name,
    answers: () => wireAnswers(requests),
    moveTo: async (server: string) => channel.moveTo(server),
  }))
  return new Failover(access, [movableControl(control), ...movable], log)
}

function assemble(
  access: Access,
  control: NatsConnection,
  { jsm, sizes }: Pick<Nats, 'jsm' | 'sizes'>,
  { data, events }: { readonly data: Wire; readonly events: Wire },
  log: Logger,
): Nats {
  const failover = access.servers.length > 1 ? openFailover(access, control, { data, log: events }, log) : undefined
  let controlConnected = true
  const watch = async (): Promise<void> => {
    for await (const status of control.status()) {
      if (status.type === 'disconnect') {
        controlConnected = false
        log.warn({ connection: 'control' }, 'connection to NATS lost')
      } else if (status.type === 'reconnect') {
        controlConnected = true
        log.info({ connection: 'control' }, 'connection to NATS restored')
      } else if (status.type === 'error') {
        log.warn({ connection: 'control', error: String(status.error) }, 'NATS reports an error')
      }
    }
  }
  let closing: Promise<unknown> | undefined
  const close = async (): Promise<void> => {
    // Not drained: all that goes over it are requests, and whoever made them has its answer or wants none any more.
    closing ??= Promise.all([control.close(), closeWire(data), closeWire(events), failover?.close()])
    await closing
  }
  watch().catch((error: unknown) => log.error({ err: error }, 'the watch over the NATS connection ended'))
  return {
    control,
    js: jetstream(control),
    jsm,
    sizes,
    data: data.channel,
    requests: data.requests,
    log: events,
    serverVersion: control.info?.version ?? '',
    payloadBytesMax: data.channel.payloadBytesMax,
    get connected() {
      return controlConnected && data.channel.connected && events.channel.connected
    },
    get isClosed() {
      return closing !== undefined
    },
    close,
    closeIfAway: async () => {
      if (await answersWithin(closeWaitMs, events.requests)) return
      log.warn('NATS does not answer: the node stops without it; what was acknowledged is stored')
      await close()
    },
  }
}

/** Asks again and again. */
async function answersWithin(ms: number, requests: RequestMux): Promise<boolean> {
  const late = new AbortController()
  const over = delay(ms, false, { signal: late.signal }).catch(() => false)
  const asking = async (): Promise<boolean> => {
    while (!late.signal.aborted) {
      if (await wireAnswers(requests)) return true
      await delay(askAgainMs)
    }
    return false
  }
  const answers = await Promise.race([asking(), over])
  late.abort()
  return answers
}

function unreachable({ servers }: Access, error: unknown): AppError {
  return new AppError('STORE_UNAVAILABLE', `cannot connect to NATS at ${servers.join(', ')}: ${reason(error)}`, {
    cause: error,
    hint: 'check STOWAGE_NATS_URL and its credentials, and that the server runs',
  })
}

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error))
