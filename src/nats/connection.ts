import { readFile } from 'node:fs/promises'
import type { JetStreamClient, JetStreamManager } from '@nats-io/jetstream'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import type { Authenticator, ConnectionOptions, NatsConnection, NodeConnectionOptions } from '@nats-io/transport-node'
import {
  connect,
  credsAuthenticator,
  nkeyAuthenticator,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from '@nats-io/transport-node'
import type { Logger } from 'pino'
import type { NatsConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import { RequestMux } from './requests.ts'
import { minimumServerVersion, olderThan } from './server-version.ts'

/**
 * Two connections: `data` carries blocks, `control` everything small. A message of 1 MiB blocks the socket for those
 * behind it, and a query must not wait for an upload.
 */
export interface Nats {
  readonly control: NatsConnection
  readonly js: JetStreamClient
  readonly jsm: JetStreamManager
  readonly data: NatsConnection
  /** Requests over `data`. */
  readonly requests: RequestMux
  readonly serverVersion: string
  /** Largest message in bytes, headers included. */
  readonly payloadBytesMax: number
  /** False while either connection is lost. */
  readonly connected: boolean
  close(): Promise<void>
}

const options: ConnectionOptions & NodeConnectionOptions = {
  // The defaults give up after ten attempts and notice a dead peer after four minutes.
  maxReconnectAttempts: -1,
  reconnectTimeWait: 250,
  reconnectJitter: 50,
  pingInterval: 20_000,
  timeout: 5_000,
  noAsyncTraces: true,
}

/** @throws AppError SERVER_TOO_OLD | STORE_UNAVAILABLE | SETTING_INVALID (a credentials file that cannot be read) */
export async function connectNats(url: string, config: NatsConfig, log: Logger): Promise<Nats> {
  const access = await accessOptions(config)
  const servers = url.split(',').map((server) => server.trim())
  const open = async (name: string): Promise<NatsConnection> => {
    try {
      return await connect({ ...options, ...access, servers, name })
    } catch (error) {
      throw new AppError('STORE_UNAVAILABLE', `cannot connect to NATS at ${withoutPassword(url)}: ${reason(error)}`, {
        cause: error,
        hint: 'check STOWAGE_NATS_URL and its credentials, and that the server runs',
      })
    }
  }
  const control = await open('stowage-control')
  const data = await open('stowage-data').catch(async (error: unknown) => {
    await control.close()
    throw error
  })
  try {
    return await assemble(control, data, log)
  } catch (error) {
    await Promise.all([control.close(), data.close()])
    throw error
  }
}

async function assemble(control: NatsConnection, data: NatsConnection, log: Logger): Promise<Nats> {
  const serverVersion = control.info?.version ?? '0.0.0'
  if (olderThan(serverVersion, minimumServerVersion)) {
    throw new AppError('SERVER_TOO_OLD', `nats-server ${serverVersion} is too old; ${minimumServerVersion} is needed`, {
      hint: 'upgrade the server that STOWAGE_NATS_URL names',
    })
  }
  const jsm = await jetstreamManager(control).catch((error: unknown) => {
    throw new AppError('STORE_UNAVAILABLE', `JetStream is not enabled for us: ${reason(error)}`, {
      cause: error,
      hint: 'start nats-server with JetStream (-js), for the account of these credentials',
    })
  })
  const requests = new RequestMux(data)
  const state = { control: true, data: true }
  watch(control, 'control', state, log, () => undefined)
  watch(data, 'data', state, log, () => requests.failAll('connection to NATS lost'))
  return {
    control,
    js: jetstream(control),
    jsm,
    data,
    requests,
    serverVersion,
    payloadBytesMax: data.info?.max_payload ?? 1_048_576,
    get connected() {
      return state.control && state.data
    },
    close: async () => {
      requests.close()
      await Promise.all([control.drain(), data.drain()])
    },
  }
}

function watch(
  connection: NatsConnection,
  name: 'control' | 'data',
  state: { control: boolean; data: boolean },
  log: Logger,
  onLost: () => void,
): void {
  const follow = async () => {
    for await (const status of connection.status()) {
      if (status.type === 'disconnect') {
        state[name] = false
        log.warn({ connection: name }, 'connection to NATS lost')
        onLost()
      } else if (status.type === 'reconnect') {
        state[name] = true
        log.info({ connection: name }, 'connection to NATS restored')
      } else if (status.type === 'error') {
        log.warn({ connection: name, error: String(status.error) }, 'NATS reports an error')
      }
    }
  }
  follow().catch((error: unknown) => log.error({ err: error }, 'the watch over the NATS connection ended'))
}

async function accessOptions(config: NatsConfig): Promise<ConnectionOptions & NodeConnectionOptions> {
  const authenticators: Authenticator[] = []
  if (config.credsFile !== undefined) {
    authenticators.push(credsAuthenticator(await readSecret('NATS_CREDS', config.credsFile)))
  }
  if (config.nkeyFile !== undefined) {
    const seed = Buffer.from(await readSecret('NATS_NKEY', config.nkeyFile))
      .toString('utf8')
      .trim()
    authenticators.push(nkeyAuthenticator(new TextEncoder().encode(seed)))
  }
  if (config.token !== undefined) authenticators.push(tokenAuthenticator(config.token))
  if (config.user !== undefined) authenticators.push(usernamePasswordAuthenticator(config.user, config.password ?? ''))
  const tls = {
    ...(config.tlsCaFile === undefined ? {} : { caFile: config.tlsCaFile }),
    ...(config.tlsCertFile === undefined ? {} : { certFile: config.tlsCertFile }),
    ...(config.tlsKeyFile === undefined ? {} : { keyFile: config.tlsKeyFile }),
  }
  return {
    ...(authenticators.length === 0 ? {} : { authenticator: authenticators }),
    ...(Object.keys(tls).length === 0 ? {} : { tls }),
  }
}

async function readSecret(setting: string, path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (error) {
    throw new AppError('SETTING_INVALID', `STOWAGE_${setting}: cannot read ${path}: ${reason(error)}`, { cause: error })
  }
}

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error))

function withoutPassword(url: string): string {
  return url.replaceAll(/\/\/[^@/,]*@/g, '//')
}
