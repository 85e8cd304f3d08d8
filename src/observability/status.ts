import type { LimitName } from './limits.ts'

/** `GET /api/v1/status`: how the node is, for people and for `stowage status`. Bytes and seconds, whole numbers. */
export interface NodeStatus {
  readonly version: string
  readonly node: {
    readonly pid: number
    readonly uptimeSeconds: number
    readonly rssBytes: number
    readonly dataDir: string
  }
  readonly domain: string
  readonly site: string
  readonly gatewayUrl: string
  readonly apiUrl: string
  readonly nats: {
    readonly mode: 'embedded' | 'external'
    readonly url: string
    readonly version: string
    readonly connected: boolean
    readonly durability: 'fsync' | 'os-cache' | 'unknown'
    readonly payloadBytesMax: number
    readonly restarts: number
    /** Who says how large streams may become. */
    readonly streamSizes: 'settings' | 'account' | 'none'
  }
  readonly store: {
    readonly space: string
    readonly name: string
    readonly shards: number
    readonly replicas: number
    /** Two messages a block. */
    readonly messages: number
    readonly bytes: number
    /** What keeps streams from taking writes, each in a few words; empty = nothing. */
    readonly troubles: readonly string[]
  }
  /** The event log, and the indexes that are folded from it. */
  readonly log: {
    readonly epoch: string
    readonly last: number
    /** Why it takes nothing; null = it does. */
    readonly fault: string | null
    readonly audits: number
    readonly differences: number
    readonly remade: number
    /** Indexes that are being made anew. */
    readonly mending: readonly string[]
  }
  readonly cache: { readonly bytes: number; readonly bytesMax: number; readonly hits: number; readonly misses: number }
  /** How often each limit was met since the start, by listener. */
  readonly limitHits: Readonly<Record<'gateway' | 'api', Readonly<Record<LimitName, number>>>>
  /** Undefined where nothing is scrubbed. */
  readonly scrub: object | undefined
  readonly disk: { readonly freeBytes: number; readonly reserveBytes: number } | undefined
}
