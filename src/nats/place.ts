import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { openDataFolder } from './data-folder.ts'
import { type EmbeddedServer, startEmbeddedServer } from './server.ts'
import type { Environment } from './server-sources.ts'

export interface PlaceParts {
  readonly log: Logger
  readonly env: Environment
  /** Ends a start under way. */
  readonly signal: AbortSignal
}

/** Where a node has its data. */
export interface Place {
  readonly dataDir: string
  readonly natsUrl: string
  readonly server: EmbeddedServer | undefined
  readonly close: () => Promise<void>
}

/** The data folder, locked, and the server to talk to: a child of ours, or the one that the settings name. */
export async function openPlace(config: Config, { log, env, signal }: PlaceParts): Promise<Place> {
  if (config.nats.url !== undefined) {
    const folder = await openDataFolder(config.dataDir)
    return { dataDir: folder.path, natsUrl: config.nats.url, server: undefined, close: () => folder.close() }
  }
  const server = await startEmbeddedServer({
    dataDir: config.dataDir,
    port: config.nats.port,
    site: config.layout.site,
    leaf: { ...config.nats.leaf, domain: config.layout.domain },
    binary: config.nats.serverBinary,
    storeBytesMax: config.nats.storeBytesMax,
    memoryBytes: config.nats.memoryBytes,
    log: log.child({ part: 'nats' }),
    env,
    signal,
  })
  return { dataDir: server.dataDir, natsUrl: server.url, server, close: () => server.close() }
}

export const withoutCredentials = (url: string): string => url.replaceAll(/\/\/[^@/,]*@/g, '//')
