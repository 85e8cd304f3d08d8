import { memoryUsage, pid, uptime } from 'node:process'
import type { LayoutConfig } from '../config.ts'
import type { LimitHits } from './limits.ts'
import type { NodeStatus } from './status.ts'

export interface StatusParts {
  readonly version: string
  readonly layout: LayoutConfig
  readonly dataDir: string
  readonly urls: { readonly gateway: string; readonly api: string }
  /** The embedded one; undefined where another one runs. */
  readonly server: { readonly restarts: number } | undefined
  /** Without credentials. */
  readonly natsUrl: string
  readonly nats: {
    readonly serverVersion: string
    readonly connected: boolean
    readonly payloadBytesMax: number
    readonly sizes: { readonly from: NodeStatus['nats']['streamSizes'] }
  }
  readonly durability: NodeStatus['nats']['durability']
  readonly replicas: number
  usage(): Promise<Pick<NodeStatus['store'], 'messages' | 'bytes' | 'troubles'>>
  readonly cache: { readonly stats: NodeStatus['cache'] }
  readonly limitHits: { readonly gateway: LimitHits; readonly api: LimitHits }
  logReport(): NodeStatus['log']
  scrubReport(): Promise<object | undefined>
  disk(): NodeStatus['disk']
}

/** How the node is, now. @throws what `usage` throws, where the store does not answer */
export async function nodeStatus(parts: StatusParts): Promise<NodeStatus> {
  const { version, layout, dataDir, urls, server, natsUrl, nats, durability, replicas, limitHits } = parts
  return {
    version,
    node: { pid, uptimeSeconds: Math.round(uptime()), rssBytes: memoryUsage.rss(), dataDir },
    domain: layout.domain,
    site: layout.site,
    gatewayUrl: urls.gateway,
    apiUrl: urls.api,
    nats: {
      mode: server === undefined ? 'external' : 'embedded',
      url: natsUrl,
      version: nats.serverVersion,
      connected: nats.connected,
      durability,
      payloadBytesMax: nats.payloadBytesMax,
      restarts: server?.restarts ?? 0,
      streamSizes: nats.sizes.from,
    },
    store: {
      space: layout.space,
      name: layout.store,
      shards: layout.shards,
      replicas,
      ...(await parts.usage()),
    },
    cache: parts.cache.stats,
    limitHits: { gateway: limitHits.gateway.counts(), api: limitHits.api.counts() },
    log: parts.logReport(),
    scrub: await parts.scrubReport(),
    disk: parts.disk(),
  }
}
