import { isIP } from 'node:net'
import { AppError } from './errors.ts'
import { isServiceLinkUrl } from './lib/service-links.ts'
import { type StrayVariables, strayVariables } from './lib/stray-variables.ts'
import { parseBytes } from './lib/units.ts'

type Kind =
  | 'switch'
  | 'choice'
  | 'labels'
  | 'days'
  | 'text'
  | 'name'
  | 'path'
  | 'host'
  | 'domains'
  | 'domain-patterns'
  | 'networks'
  | 'port'
  | 'bytes'
  | 'memory'
  | 'stream-sizes'
  | 'seconds'
  | 'count'
  | 'level'
  | 'url'
  | 'leaf-listen'
  | 'leaf-urls'
  | 'secret'

interface Setting {
  readonly kind: Kind
  /** As a user would write it; undefined = unset. */
  readonly default?: string
  readonly help: string
  readonly min?: number
  readonly max?: number
  /** Of a URL. */
  readonly schemes?: readonly string[]
  readonly choices?: readonly string[]
}

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof levels)[number]

/**
 * Every setting: `STOWAGE_<NAME>` in the environment, `--<name-with-dashes>` on the command line (which wins).
 * This table is the only list: `stowage serve --help` and the README print it.
 */
export const settings = {
  DATA: { kind: 'path', default: './stowage-data', help: 'folder of the embedded server, its log and the admin token' },
  GATEWAY_HOST: { kind: 'host', default: '127.0.0.1', help: 'address the IPFS gateway listens on' },
  GATEWAY_PORT: { kind: 'port', default: '8080', help: 'port of the IPFS gateway; 0 = any free port' },
  DENYLIST: {
    kind: 'path',
    help: 'what is not to be served: a file in the compact denylist format (IPIP-383), or a folder of *.deny files; changes count within a second',
  },
  SUBDOMAIN_HOSTS: {
    kind: 'domains',
    default: 'localhost',
    help: 'hosts that give each content an origin of its own (<cid>.ipfs.<host>), comma-separated, without ports; off = none',
  },
  DNSLINK_HOSTS: {
    kind: 'switch',
    default: 'on',
    help: 'whether a request whose Host is a domain name that is known here (DNSLink) is for its content: on or off',
  },
  TRUSTED_PROXIES: {
    kind: 'networks',
    help: 'addresses and networks (10.0.0.0/8) of the proxies whose X-Forwarded-For, X-Forwarded-Host and X-Forwarded-Proto are believed',
  },
  PROXY: {
    kind: 'switch',
    default: 'on',
    help: 'whether the gateway may be set as an HTTP proxy for its own content (CONNECT leads nowhere else): on or off',
  },
  DNS_LINKS: {
    kind: 'domain-patterns',
    default: 'off',
    help: 'domain names whose DNSLink is looked up in the DNS, comma-separated: example.org, *.example.org (what is below it) or *; off = none',
  },
  API_HOST: { kind: 'host', default: '127.0.0.1', help: 'address the API listens on' },
  API_HOSTS: {
    kind: 'domain-patterns',
    default: 'off',
    help: 'host names that the API answers for, beside addresses, localhost and API_HOST, comma-separated, without ports: api.example.org, *.example.org (what is below it) or * (any); off = none',
  },
  API_PORT: { kind: 'port', default: '8081', help: 'port of the API; 0 = any free port' },
  API_READS: {
    kind: 'choice',
    default: 'open',
    choices: ['open', 'token'],
    help: 'reads of the API: open = they need no token, token = all but /healthz and /readyz need one (the gateway stays open)',
  },
  API_REQUESTS_MAX: {
    kind: 'count',
    default: '2048',
    min: 1,
    help: 'most requests that the API works on at a time, followers of events apart; more get 429',
  },
  API_CONNECTIONS_MAX: {
    kind: 'count',
    default: '4096',
    min: 1,
    help: 'most connections to the API; further ones are closed at once',
  },
  NATS_PORT: { kind: 'port', default: '4222', help: 'port of the embedded nats-server; 0 = any free port' },
  NATS_SERVER: { kind: 'path', help: 'nats-server binary to embed instead of looking for one' },
  NATS_MEMORY_BYTES: {
    kind: 'memory',
    default: 'auto',
    min: 33554432,
    help: 'memory that the embedded nats-server tries to stay within (its GOMEMLIMIT, where the environment has none): a size, auto = two fifths of what the container or machine has, off = no bound',
  },
  NATS_URL: {
    kind: 'url',
    schemes: ['nats:', 'tls:'],
    help: 'use this NATS server (comma-separated list) instead of embedding one',
  },
  NATS_USER: { kind: 'text', help: 'user for NATS_URL' },
  NATS_PASSWORD: { kind: 'secret', help: 'password for NATS_URL' },
  NATS_TOKEN: { kind: 'secret', help: 'token for NATS_URL' },
  NATS_NKEY: { kind: 'path', help: 'file with the nkey seed for NATS_URL' },
  NATS_CREDS: { kind: 'path', help: 'credentials file for NATS_URL' },
  NATS_TLS_CA: { kind: 'path', help: 'CA certificate to verify NATS_URL by' },
  NATS_TLS_CERT: { kind: 'path', help: 'client certificate for NATS_URL' },
  NATS_TLS_KEY: { kind: 'path', help: 'key of the client certificate' },
  NATS_MONITOR_URL: {
    kind: 'url',
    schemes: ['http:', 'https:'],
    help: 'monitoring URL of NATS_URL, to learn its sync mode',
  },
  LEAF_LISTEN: {
    kind: 'leaf-listen',
    help: 'host:port where the embedded nats-server takes other sites as leaves (a hub); user:password@host:port beyond this machine',
  },
  LEAF_REMOTE: {
    kind: 'leaf-urls',
    help: 'the hub that the embedded nats-server joins as a leaf: nats-leaf://user:password@host:port (comma-separated: servers of one hub; tls:// demands TLS)',
  },
  DOMAIN: { kind: 'name', default: 'stowage', help: 'first token of every bucket, stream and subject' },
  SITE: {
    kind: 'name',
    default: 'local',
    help: 'name of this place; also the JetStream domain of the embedded server',
  },
  SPACE: { kind: 'name', default: 'main', help: 'namespace that blocks are kept in' },
  STORE: { kind: 'name', default: 'a', help: 'name of the bucket set within the site' },
  SITE_LABELS: { kind: 'labels', help: 'what the policy may say of this site: region=eu,zone=a' },
  JETSTREAM_DOMAIN: { kind: 'name', help: 'JetStream domain of NATS_URL, where it is not the name of the site' },
  STORE_ZONES: { kind: 'labels', help: 'failure domains that the replicas of the store lie in: a,b,c (default: one)' },
  PLACEMENT: {
    kind: 'switch',
    default: 'on',
    help: 'whether this node makes and watches over copies as the policy asks: on or off',
  },
  SITE_DOWN_SECONDS: { kind: 'seconds', default: '30', min: 1, help: 'a site that is silent for so long is down' },
  COPY_WORKERS: { kind: 'count', default: '2', min: 1, max: 64, help: 'copies that a node makes at a time' },
  COPY_BYTES_PER_SECOND: {
    kind: 'bytes',
    default: '160MiB',
    min: 1,
    help: 'read for copies by one node, made and verified, all together',
  },
  STORES_PER_SITE_MAX: {
    kind: 'count',
    default: '8',
    min: 1,
    max: 26,
    help: 'most stores at a site, where a policy wants more copies than there are places',
  },
  DEMAND_RATE_MIN: {
    kind: 'count',
    default: '10',
    min: 1,
    help: 'reads a minute at a site from which on a rule with near: demand wants a copy there',
  },
  DEMAND_HALF_LIFE_SECONDS: {
    kind: 'seconds',
    default: '300',
    min: 1,
    help: 'a read counts for half after so long, where demand is measured',
  },
  PUT_WAIT_SECONDS_MAX: {
    kind: 'seconds',
    default: '30',
    min: 0,
    help: 'longest that a put waits for its copies, where the request or the rule asks for that',
  },
  KEEP_REMOTE_READS: {
    kind: 'switch',
    default: 'off',
    help: 'whether blocks that were read at another site are kept in the local store: on or off',
  },
  SCRUB_BYTES_PER_SECOND: {
    kind: 'bytes',
    default: '32MiB',
    help: 'read in the background to find and repair damaged and missing blocks; 0 = off',
  },
  SCRUB_DAYS: {
    kind: 'days',
    default: '30',
    min: 0.01,
    help: 'each store is gone through at least so often, faster than SCRUB_BYTES_PER_SECOND if it must',
  },
  AUDIT_DAYS: {
    kind: 'days',
    default: '1',
    help: 'the indexes are compared with the event log so often, slowly, and repaired; at each start anyway. 0 = then alone',
  },
  SHARDS: {
    kind: 'count',
    min: 1,
    max: 256,
    help: 'buckets a store is split over, a power of two; fixed at creation (default: 4 embedded, 16 with NATS_URL)',
  },
  REPLICAS: {
    kind: 'count',
    default: '1',
    min: 1,
    max: 5,
    help: 'replicas of each bucket in a NATS cluster, set at creation',
  },
  CACHE_BYTES: { kind: 'bytes', default: '32MiB', help: 'verified blocks kept in memory' },
  READ_AHEAD_BYTES: { kind: 'bytes', default: '8MiB', min: 1, help: 'blocks fetched ahead of a reader, per request' },
  READ_AHEAD_TOTAL_BYTES: {
    kind: 'bytes',
    default: '64MiB',
    min: 0,
    help: 'blocks fetched ahead of the readers of the gateway, all together; beyond it each gets 512 KiB',
  },
  READ_FLIGHT_BYTES: {
    kind: 'bytes',
    default: '24MiB',
    min: 2097152,
    max: 33554432,
    help: 'asked of NATS at a time, all readers together',
  },
  WRITE_WINDOW_BYTES: {
    kind: 'bytes',
    default: '32MiB',
    min: 2097152,
    help: 'sent to NATS and not yet acknowledged, all uploads together',
  },
  STORE_WAIT_SECONDS: {
    kind: 'seconds',
    default: '15',
    min: 0,
    help: 'how long a request waits for NATS to come back before it fails with 503',
  },
  STORE_BYTES_MAX: { kind: 'bytes', help: 'most that the embedded server may store (default: what the disk holds)' },
  STREAM_BYTES_MAX: {
    kind: 'stream-sizes',
    help: 'size of each stream that is made, for NATS accounts that want one: blocks=64GiB (all buckets together),events=4GiB,kv=256MiB (each),moves=64MiB (default: shares of the limit of such an account, else none); those of reads, queue and dead letters have settings of their own',
  },
  DISK_RESERVE_BYTES: {
    kind: 'bytes',
    default: '256MiB',
    min: 0,
    help: 'uploads are refused with 507 when the data folder has less free space',
  },
  UPLOAD_BYTES_MAX: { kind: 'bytes', default: '1TiB', min: 1, help: 'largest upload' },
  UPLOAD_ENTRIES_MAX: {
    kind: 'count',
    default: '1000000',
    min: 1,
    help: 'most files and directories in one upload; until it ends a file costs some 100 bytes of memory, a directory 400',
  },
  UPLOAD_IDLE_SECONDS: {
    kind: 'seconds',
    default: '30',
    min: 1,
    help: 'an upload that sends nothing for so long is ended',
  },
  REQUESTS_MAX: {
    kind: 'count',
    default: '4096',
    min: 1,
    help: 'most requests that the gateway works on at a time; more get 429',
  },
  REQUESTS_PER_CLIENT_MAX: {
    kind: 'count',
    default: '256',
    min: 0,
    help: 'most requests at a time from one address (of IPv6: /64), at the gateway and at the API each, those from this machine itself apart; 0 = no bound',
  },
  CONNECTIONS_MAX: {
    kind: 'count',
    default: '16384',
    min: 1,
    help: 'most connections to the gateway; further ones are closed at once',
  },
  REQUEST_HEAD_SECONDS: {
    kind: 'seconds',
    default: '15',
    min: 1,
    help: 'a client that takes longer to send the head of a request gets 408',
  },
  RETRIEVAL_SECONDS: {
    kind: 'seconds',
    default: '30',
    min: 0.1,
    help: 'a request of the gateway, or a read of the API, for which nothing comes for so long is ended: 504, or a cut after the first byte',
  },
  REQUEST_SECONDS: {
    kind: 'seconds',
    default: '3600',
    min: 0.1,
    help: 'longest that one request of the gateway, or a read of the API, may take: 504, or a cut after the first byte',
  },
  FILE_BYTES_MAX: {
    kind: 'bytes',
    default: '0',
    min: 0,
    help: 'larger files are served as blocks and CARs only, else 410; 0 = no bound',
  },
  SEND_IDLE_SECONDS: {
    kind: 'seconds',
    default: '30',
    min: 1,
    help: 'a client that takes nothing of an answer for so long is cut, and so is a connection that asks nothing',
  },
  CAR_HEADER_BYTES_MAX: { kind: 'bytes', default: '1MiB', min: 64, help: 'largest CAR header' },
  CAR_ROOTS_MAX: { kind: 'count', default: '1000', min: 1, help: 'most roots a CAR may name' },
  CAR_BLOCKS_MAX: { kind: 'count', default: '100000000', min: 1, help: 'most blocks in one CAR' },
  DAG_DEPTH_MAX: { kind: 'count', default: '1024', min: 1, help: 'deepest chain of links that is followed' },
  DAG_BLOCKS_MAX: { kind: 'count', default: '10000000', min: 1, help: 'most blocks that one CAR export visits' },
  DAG_BYTES_MAX: { kind: 'bytes', default: '1TiB', min: 1, help: 'most bytes of blocks in one CAR export' },
  DAG_EXPANDED_BYTES_MAX: {
    kind: 'bytes',
    default: '64GiB',
    min: 1,
    help: 'most bytes of one tar or one CAR with dups=y, in which content counts as often as it is linked',
  },
  NODE_LINKS_MAX: { kind: 'count', default: '16384', min: 1, help: 'most links that one node may have' },
  LISTING_ENTRIES_MAX: { kind: 'count', default: '10000', min: 1, help: 'most entries on one page of a listing' },
  PATH_SEGMENTS_MAX: { kind: 'count', default: '256', min: 1, help: 'most segments in a path' },
  SHUTDOWN_SECONDS: {
    kind: 'seconds',
    default: '10',
    min: 0,
    help: 'how long requests under way may finish after SIGTERM or SIGINT',
  },
  WATCHDOG_SECONDS: {
    kind: 'seconds',
    default: '30',
    min: 0,
    help: 'a node whose event loop is blocked for so long ends with exit code 8, to be started again; 0 = off',
  },
  READS_LOG: {
    kind: 'switch',
    default: 'on',
    help: 'whether each read of content is recorded in the read log: on or off',
  },
  READS_BYTES_MAX: {
    kind: 'bytes',
    default: '1GiB',
    min: 1048576,
    help: 'size of the read log, at most a sixteenth of an embedded store; the oldest goes first',
  },
  READS_DAYS_MAX: { kind: 'days', default: '30', min: 1, max: 36500, help: 'how long a read stays in the read log' },
  EVENT_FOLLOWERS_MAX: {
    kind: 'count',
    default: '1000',
    min: 1,
    help: 'most clients that follow events at this node at a time',
  },
  NATS_COMMANDS: {
    kind: 'choice',
    choices: ['open', 'token'],
    help: 'commands over NATS: open = the NATS server decides who may publish them, token = each needs the admin token (default: open embedded, token with NATS_URL)',
  },
  NATS_INLINE_BYTES_MAX: {
    kind: 'bytes',
    default: '512KiB',
    min: 1024,
    help: 'largest content that one NATS reply carries; larger comes in parts or ranges',
  },
  NATS_FLIGHT_BYTES: {
    kind: 'bytes',
    default: '4MiB',
    min: 65536,
    help: 'of one download or upload in parts, sent and not yet taken',
  },
  NATS_TRANSFERS_MAX: {
    kind: 'count',
    default: '64',
    min: 1,
    help: 'most downloads and uploads in parts at a time, per node',
  },
  NATS_REQUESTS_MAX: {
    kind: 'count',
    default: '1024',
    min: 1,
    help: 'most NATS requests that a node works on at a time',
  },
  NATS_REQUEST_BYTES_MAX: {
    kind: 'bytes',
    default: '64MiB',
    min: 1048576,
    help: 'bytes of NATS requests that a node works on at a time',
  },
  QUEUE_DELIVERIES_MAX: {
    kind: 'count',
    default: '5',
    min: 1,
    help: 'how often a queued command is tried before it becomes a dead letter',
  },
  QUEUE_ACK_SECONDS: {
    kind: 'seconds',
    default: '30',
    min: 1,
    help: 'a queued command whose node gives no sign for so long is given to another',
  },
  QUEUE_BYTES_MAX: {
    kind: 'bytes',
    default: '1GiB',
    min: 1048576,
    help: 'size of the queue of commands, at most a sixteenth of an embedded store; when it is full, more are refused',
  },
  DEAD_BYTES_MAX: {
    kind: 'bytes',
    default: '256MiB',
    min: 1048576,
    help: 'size of what is kept of dead letters, at most a sixteenth of an embedded store; the oldest goes first',
  },
  QUEUE_WORKERS: {
    kind: 'count',
    default: '4',
    min: 1,
    max: 64,
    help: 'queued commands that a node works on at a time',
  },
  KEYS_SECRET: {
    kind: 'secret',
    help: 'what keys that sign IPNS records are sealed under, the same at all nodes of a domain (default: one in the data folder with an embedded server, none with NATS_URL)',
  },
  TOKEN: { kind: 'secret', help: 'admin token: `serve` uses it instead of making one; the CLI sends it' },
  API_URL: {
    kind: 'url',
    schemes: ['http:', 'https:'],
    help: 'CLI: where the API of the node is (default: from API_HOST and API_PORT)',
  },
  GATEWAY_URL: {
    kind: 'url',
    schemes: ['http:', 'https:'],
    help: 'CLI: where the gateway of the node is (default: from GATEWAY_HOST and GATEWAY_PORT)',
  },
  LOG: { kind: 'level', default: 'info', help: `one of ${levels.join(', ')}` },
} as const satisfies Readonly<Record<string, Setting>>

export type SettingName = keyof typeof settings

export interface NatsConfig {
  /** Undefined = the embedded server. */
  readonly url: string | undefined
  readonly user: string | undefined
  readonly password: string | undefined
  readonly token: string | undefined
  readonly nkeyFile: string | undefined
  readonly credsFile: string | undefined
  readonly tlsCaFile: string | undefined
  readonly tlsCertFile: string | undefined
  readonly tlsKeyFile: string | undefined
  readonly monitorUrl: string | undefined
  readonly serverBinary: string | undefined
  readonly port: number
  readonly leaf: LeafConfig
  readonly streamBytes: StreamBytes
  readonly memoryBytes: number | 'auto' | 'off'
  readonly storeBytesMax: number | undefined
  readonly diskReserveBytes: number
}

const streamKinds = ['blocks', 'events', 'kv', 'moves'] as const
/** What was said of the sizes of streams; a kind that is not there has no bound, or a share of what the account may hold. */
export type StreamBytes = Readonly<Partial<Record<(typeof streamKinds)[number], number>>>

/** How the embedded nats-server is joined with those of other sites. Never to be shown: it has passwords. */
export interface LeafConfig {
  /** Undefined = it takes no leaves. */
  readonly listen:
    | { readonly host: string; readonly port: number; readonly user: string; readonly password: string }
    | undefined
  /** URLs of one hub. */
  readonly remotes: readonly string[]
}

export interface LayoutConfig {
  readonly domain: string
  readonly site: string
  readonly space: string
  readonly store: string
  readonly shards: number
  readonly replicas: number
}

export interface StoreConfig {
  readonly cacheBytes: number
  readonly readFlightBytes: number
  readonly writeWindowBytes: number
  readonly storeWaitMs: number
}

export interface ListenConfig {
  readonly host: string
  readonly port: number
}

/** Which hosts the gateway answers for, and how. */
export interface HostConfig {
  /** In lower case, without ports. */
  readonly subdomainHosts: readonly string[]
  readonly dnsLinkHosts: boolean
  /** Addresses and networks in CIDR notation. */
  readonly trustedProxies: readonly string[]
  readonly proxy: boolean
}

/** Bounds on what one request may cost. */
export interface LimitConfig {
  readonly readAheadBytes: number
  readonly readAheadTotalBytes: number
  readonly uploadBytesMax: number
  readonly uploadEntriesMax: number
  readonly uploadIdleMs: number
  readonly sendIdleMs: number
  readonly requestsMax: number
  readonly requestsPerClientMax: number
  readonly connectionsMax: number
  readonly requestHeadMs: number
  readonly retrievalMs: number
  readonly requestMs: number
  /** 0 = no bound. */
  readonly fileBytesMax: number
  readonly carHeaderBytesMax: number
  readonly carRootsMax: number
  readonly carBlocksMax: number
  readonly dagDepthMax: number
  readonly dagBlocksMax: number
  readonly dagBytesMax: number
  readonly dagExpandedBytesMax: number
  readonly nodeLinksMax: number
  readonly listingEntriesMax: number
  readonly pathSegmentsMax: number
  readonly eventFollowersMax: number
}

/** Where the API has bounds of its own. */
export interface ApiBounds {
  readonly readAccess: 'open' | 'token'
  readonly requestsMax: number
  readonly connectionsMax: number
}

export interface ReadLogConfig {
  readonly on: boolean
  readonly bytesMax: number
  readonly daysMax: number
}

/** Copies in the background; see the settings of the same names. */
export interface PlacementConfig {
  readonly on: boolean
  readonly siteLabels: Readonly<Record<string, string>>
  readonly jetstreamDomain: string | undefined
  readonly storeZones: readonly string[]
  readonly siteDownMs: number
  readonly copyWorkers: number
  readonly copyBytesPerSecond: number
  readonly storesPerSiteMax: number
  readonly demandRateMin: number
  readonly demandHalfLifeMs: number
  readonly putWaitMsMax: number
  readonly keepRemoteReads: boolean
  /** 0 = off. */
  readonly scrubBytesPerSecond: number
  readonly scrubEveryMs: number
}

/** The NATS surface: queries, commands and the queue of commands. */
export interface CommsConfig {
  readonly commandAccess: 'open' | 'token'
  readonly inlineBytesMax: number
  readonly flightBytesMax: number
  readonly transfersMax: number
  readonly requestsMax: number
  readonly requestBytesMax: number
  readonly deliveriesMax: number
  readonly ackWaitMs: number
  readonly workers: number
  readonly queueBytesMax: number
  readonly deadBytesMax: number
}

export interface Config {
  readonly dataDir: string
  readonly gateway: ListenConfig
  readonly hosts: HostConfig
  /** Patterns of the domain names that may be looked up in the DNS: see `DNS_LINKS`. */
  readonly dnsLinks: readonly string[]
  readonly api: ListenConfig
  readonly apiBounds: ApiBounds
  /** In lower case, without ports: names, `*.<name>` or `*`. */
  readonly apiHosts: readonly string[]
  readonly nats: NatsConfig
  readonly layout: LayoutConfig
  readonly store: StoreConfig
  readonly limits: LimitConfig
  /** File or folder; undefined = nothing is denied. */
  readonly denylist: string | undefined
  readonly reads: ReadLogConfig
  readonly comms: CommsConfig
  readonly placement: PlacementConfig
  /** 0 = at the start alone. */
  readonly auditEveryMs: number
  readonly shutdownMs: number
  /** 0 = off. */
  readonly watchdogMs: number
  readonly token: string | undefined
  readonly keysSecret: string | undefined
  readonly apiUrl: string | undefined
  readonly gatewayUrl: string | undefined
  readonly log: LogLevel
  /** To be told: variables that begin with STOWAGE_ and were passed over. */
  readonly strayVariables: StrayVariables
}

export const flagOf = (name: string): string => `--${name.toLowerCase().replaceAll('_', '-')}`

/** Values by setting name, from flags; the CLI's parser fills it. */
export type SettingFlags = Readonly<Partial<Record<SettingName, string>>>

/**
 * Parses the environment and the flags once, into frozen values.
 * @throws AppError SETTING_INVALID that lists every problem
 */
export function readConfig(env: Readonly<Record<string, string | undefined>>, flags: SettingFlags = {}): Config {
  const problems: string[] = []
  const read = reader(env, flags, problems)
  const natsUrl = read.text('NATS_URL')
  const config: Config = {
    dataDir: read.text('DATA') ?? '',
    gateway: Object.freeze({ host: read.text('GATEWAY_HOST') ?? '', port: read.number('GATEWAY_PORT') }),
    hosts: Object.freeze({
      subdomainHosts: listOf(read.text('SUBDOMAIN_HOSTS')),
      dnsLinkHosts: read.text('DNSLINK_HOSTS') === 'on',
      trustedProxies: listOf(read.text('TRUSTED_PROXIES')),
      proxy: read.text('PROXY') === 'on',
    }),
    dnsLinks: listOf(read.text('DNS_LINKS')),
    apiHosts: listOf(read.text('API_HOSTS')),
    api: Object.freeze({ host: read.text('API_HOST') ?? '', port: read.number('API_PORT') }),
    apiBounds: Object.freeze({
      readAccess: read.text('API_READS') as ApiBounds['readAccess'],
      requestsMax: read.number('API_REQUESTS_MAX'),
      connectionsMax: read.number('API_CONNECTIONS_MAX'),
    }),
    nats: Object.freeze({
      url: natsUrl,
      user: read.text('NATS_USER'),
      password: read.text('NATS_PASSWORD'),
      token: read.text('NATS_TOKEN'),
      nkeyFile: read.text('NATS_NKEY'),
      credsFile: read.text('NATS_CREDS'),
      tlsCaFile: read.text('NATS_TLS_CA'),
      tlsCertFile: read.text('NATS_TLS_CERT'),
      tlsKeyFile: read.text('NATS_TLS_KEY'),
      monitorUrl: read.text('NATS_MONITOR_URL'),
      serverBinary: read.text('NATS_SERVER'),
      port: read.number('NATS_PORT'),
      leaf: Object.freeze({
        listen: leafListenOf(read.text('LEAF_LISTEN')),
        remotes: urlsOf(read.text('LEAF_REMOTE')),
      }),
      streamBytes: Object.freeze(streamBytesOf(read.text('STREAM_BYTES_MAX')) ?? {}),
      memoryBytes: memoryOf(read.text('NATS_MEMORY_BYTES')),
      storeBytesMax: read.optionalNumber('STORE_BYTES_MAX'),
      diskReserveBytes: read.number('DISK_RESERVE_BYTES'),
    }),
    layout: Object.freeze({
      domain: read.text('DOMAIN') ?? '',
      site: read.text('SITE') ?? '',
      space: read.text('SPACE') ?? '',
      store: read.text('STORE') ?? '',
      shards: read.optionalNumber('SHARDS') ?? (natsUrl === undefined ? 4 : 16),
      replicas: read.number('REPLICAS'),
    }),
    store: Object.freeze({
      cacheBytes: read.number('CACHE_BYTES'),
      readFlightBytes: read.number('READ_FLIGHT_BYTES'),
      writeWindowBytes: read.number('WRITE_WINDOW_BYTES'),
      storeWaitMs: read.number('STORE_WAIT_SECONDS') * 1000,
    }),
    limits: Object.freeze({
      readAheadBytes: read.number('READ_AHEAD_BYTES'),
      readAheadTotalBytes: read.number('READ_AHEAD_TOTAL_BYTES'),
      uploadBytesMax: read.number('UPLOAD_BYTES_MAX'),
      uploadEntriesMax: read.number('UPLOAD_ENTRIES_MAX'),
      uploadIdleMs: read.number('UPLOAD_IDLE_SECONDS') * 1000,
      sendIdleMs: read.number('SEND_IDLE_SECONDS') * 1000,
      requestsMax: read.number('REQUESTS_MAX'),
      requestsPerClientMax: read.number('REQUESTS_PER_CLIENT_MAX'),
      connectionsMax: read.number('CONNECTIONS_MAX'),
      requestHeadMs: read.number('REQUEST_HEAD_SECONDS') * 1000,
      retrievalMs: read.number('RETRIEVAL_SECONDS') * 1000,
      requestMs: read.number('REQUEST_SECONDS') * 1000,
      fileBytesMax: read.number('FILE_BYTES_MAX'),
      carHeaderBytesMax: read.number('CAR_HEADER_BYTES_MAX'),
      carRootsMax: read.number('CAR_ROOTS_MAX'),
      carBlocksMax: read.number('CAR_BLOCKS_MAX'),
      dagDepthMax: read.number('DAG_DEPTH_MAX'),
      dagBlocksMax: read.number('DAG_BLOCKS_MAX'),
      dagBytesMax: read.number('DAG_BYTES_MAX'),
      dagExpandedBytesMax: read.number('DAG_EXPANDED_BYTES_MAX'),
      nodeLinksMax: read.number('NODE_LINKS_MAX'),
      listingEntriesMax: read.number('LISTING_ENTRIES_MAX'),
      pathSegmentsMax: read.number('PATH_SEGMENTS_MAX'),
      eventFollowersMax: read.number('EVENT_FOLLOWERS_MAX'),
    }),
    denylist: read.text('DENYLIST'),
    reads: Object.freeze({
      on: read.text('READS_LOG') === 'on',
      bytesMax: read.number('READS_BYTES_MAX'),
      daysMax: read.number('READS_DAYS_MAX'),
    }),
    comms: Object.freeze({
      commandAccess: (read.text('NATS_COMMANDS') ?? (natsUrl === undefined ? 'open' : 'token')) as 'open' | 'token',
      inlineBytesMax: read.number('NATS_INLINE_BYTES_MAX'),
      flightBytesMax: read.number('NATS_FLIGHT_BYTES'),
      transfersMax: read.number('NATS_TRANSFERS_MAX'),
      requestsMax: read.number('NATS_REQUESTS_MAX'),
      requestBytesMax: read.number('NATS_REQUEST_BYTES_MAX'),
      deliveriesMax: read.number('QUEUE_DELIVERIES_MAX'),
      ackWaitMs: read.number('QUEUE_ACK_SECONDS') * 1000,
      workers: read.number('QUEUE_WORKERS'),
      queueBytesMax: read.number('QUEUE_BYTES_MAX'),
      deadBytesMax: read.number('DEAD_BYTES_MAX'),
    }),
    placement: Object.freeze({
      on: read.text('PLACEMENT') === 'on',
      siteLabels: Object.freeze(labelsOf(read.text('SITE_LABELS'))),
      jetstreamDomain: read.text('JETSTREAM_DOMAIN'),
      storeZones: namesOf(read.text('STORE_ZONES')),
      siteDownMs: read.number('SITE_DOWN_SECONDS') * 1000,
      copyWorkers: read.number('COPY_WORKERS'),
      copyBytesPerSecond: read.number('COPY_BYTES_PER_SECOND'),
      storesPerSiteMax: read.number('STORES_PER_SITE_MAX'),
      demandRateMin: read.number('DEMAND_RATE_MIN'),
      demandHalfLifeMs: read.number('DEMAND_HALF_LIFE_SECONDS') * 1000,
      putWaitMsMax: read.number('PUT_WAIT_SECONDS_MAX') * 1000,
      keepRemoteReads: read.text('KEEP_REMOTE_READS') === 'on',
      scrubBytesPerSecond: read.number('SCRUB_BYTES_PER_SECOND'),
      scrubEveryMs: read.number('SCRUB_DAYS') * 24 * 3600 * 1000,
    }),
    auditEveryMs: read.number('AUDIT_DAYS') * 24 * 3600 * 1000,
    shutdownMs: read.number('SHUTDOWN_SECONDS') * 1000,
    watchdogMs: read.number('WATCHDOG_SECONDS') * 1000,
    token: read.text('TOKEN'),
    keysSecret: read.text('KEYS_SECRET'),
    apiUrl: read.text('API_URL'),
    gatewayUrl: read.text('GATEWAY_URL'),
    log: (read.text('LOG') ?? 'info') as LogLevel,
    strayVariables: strayVariables(env, 'STOWAGE_', settingNames, ports),
  }
  const { shards } = config.layout
  if ((shards & (shards - 1)) !== 0) problems.push(`STOWAGE_SHARDS: ${shards} is not a power of two`)
  if ((config.nats.tlsCertFile === undefined) !== (config.nats.tlsKeyFile === undefined)) {
    problems.push('STOWAGE_NATS_TLS_CERT and STOWAGE_NATS_TLS_KEY belong together')
  }
  const { listen, remotes } = config.nats.leaf
  if (listen !== undefined || remotes.length > 0) {
    if (natsUrl !== undefined) {
      problems.push(
        'STOWAGE_LEAF_LISTEN and STOWAGE_LEAF_REMOTE are for the embedded server: with STOWAGE_NATS_URL, that one is joined by its own configuration',
      )
    }
    // It is the JetStream domain, and two of one name would be one.
    if (config.layout.site === settings.SITE.default) {
      problems.push('STOWAGE_SITE: a site that is joined with others needs a name of its own')
    }
  }
  if (config.keysSecret !== undefined && config.keysSecret.length < 16) {
    problems.push('STOWAGE_KEYS_SECRET: the value has fewer than 16 characters')
  }
  // As a header it would not arrive, or not as it is.
  if (config.token !== undefined && !/^[\x21-\x7e]+$/.test(config.token)) {
    problems.push('STOWAGE_TOKEN: the value has spaces or characters outside ASCII')
  }
  if (problems.length > 0) {
    throw new AppError('SETTING_INVALID', problems.join('; '), { hint: 'see stowage serve --help' })
  }
  return Object.freeze(config)
}

const secretKinds: ReadonlySet<Kind> = new Set(['secret', 'leaf-listen', 'leaf-urls'])

const settingNames = Object.keys(settings) as SettingName[]
const ports: ReadonlySet<string> = new Set(settingNames.filter((name) => settings[name].kind === 'port'))

/** As it was given: by flag, else in the environment; undefined for what is empty, and for what Kubernetes has put there. */
export function givenSetting(
  env: Readonly<Record<string, string | undefined>>,
  flags: SettingFlags,
  name: SettingName,
): string | undefined {
  const value = flags[name] ?? env[`STOWAGE_${name}`] ?? ''
  const isLink = flags[name] === undefined && ports.has(name) && isServiceLinkUrl(value)
  return value === '' || isLink ? undefined : value
}

function reader(env: Readonly<Record<string, string | undefined>>, flags: SettingFlags, problems: string[]) {
  const raw = (name: SettingName): string | undefined => {
    const setting: Setting = settings[name]
    const value = givenSetting(env, flags, name) ?? setting.default
    if (value === undefined) return undefined
    const problem = problemOf(setting, value)
    if (problem === undefined) return value
    problems.push(
      `STOWAGE_${name}: ${secretKinds.has(setting.kind) ? 'the value' : JSON.stringify(withoutPassword(value))} ${problem}`,
    )
    return setting.default
  }
  const optionalNumber = (name: SettingName): number | undefined => {
    const value = raw(name)
    return value === undefined ? undefined : numberOf(settings[name], value)
  }
  return { text: raw, optionalNumber, number: (name: SettingName) => optionalNumber(name) ?? 0 }
}

/** `[user:password@]host:port`, an IPv6 address in brackets. */
function leafListenOf(value: string | undefined): LeafConfig['listen'] {
  const url = value === undefined ? undefined : leafUrl(`nats-leaf://${value}`)
  if (url === undefined) return undefined
  const [user, password] = [decodeURIComponent(url.username), decodeURIComponent(url.password)]
  return { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(url.port), user, password }
}

const urlsOf = (value: string | undefined): readonly string[] => value?.split(',').map((part) => part.trim()) ?? []

/** Undefined for what is none, or says more than who and where. */
function leafUrl(text: string): URL | undefined {
  if (!URL.canParse(text)) return undefined
  const url = new URL(text)
  const isWhole = url.hostname !== '' && Number(url.port) > 0 && (url.pathname === '' || url.pathname === '/')
  const hasMore = url.search !== '' || url.hash !== '' || (url.username === '') !== (url.password === '')
  return isWhole && !hasMore && ['nats-leaf:', 'tls:'].includes(url.protocol) ? url : undefined
}

function leafListenProblem(value: string): string | undefined {
  const url = leafUrl(`nats-leaf://${value}`)
  if (url === undefined) return 'is not host:port or user:password@host:port'
  const isHere = /^(localhost|127\..*|\[::1\])$/.test(url.hostname)
  return isHere || url.password !== ''
    ? undefined
    : 'has no user:password@, and others than this machine reach that address'
}

/** `off` is the empty list. */
function listOf(value: string | undefined): readonly string[] {
  if (value === undefined || value === 'off') return []
  return value.split(',').map((part) => part.trim().toLowerCase())
}

const namesOf = (value: string | undefined): readonly string[] => value?.split(',').map((part) => part.trim()) ?? []

function labelsOf(value: string | undefined): Record<string, string> {
  return Object.fromEntries(namesOf(value).map((part) => part.split('=', 2) as [string, string]))
}

function isDomain(text: string): boolean {
  const labels = text.split('.')
  return (
    text.length <= 253 &&
    isIP(text) === 0 &&
    labels.every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label))
  )
}

function isNetwork(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128))
}

function numberOf(setting: Setting, value: string): number | undefined {
  if (setting.kind === 'bytes') return parseBytes(value)
  return /^\d+(\.\d+)?$/.test(value) ? Number(value) : undefined
}

/** Undefined for what is no list of kinds and sizes. */
function streamBytesOf(value: string | undefined): StreamBytes | undefined {
  const sizes = namesOf(value).map((part) => part.split('=').map((text) => text.trim()))
  const isSize = ([kind = '', size = '', ...rest]: string[]) =>
    (streamKinds as readonly string[]).includes(kind) && (parseBytes(size) ?? 0) > 0 && rest.length === 0
  return sizes.every(isSize)
    ? Object.fromEntries(sizes.map(([kind, size = '']) => [kind, parseBytes(size)]))
    : undefined
}

function memoryOf(value = 'auto'): number | 'auto' | 'off' {
  return value === 'auto' || value === 'off' ? value : (parseBytes(value) ?? 'auto')
}

/** A URL may carry one, and the message may end in a log. */
const withoutPassword = (value: string): string => value.replaceAll(/\/\/[^@/,]*@/g, '//')

/** `localhost:4222` is a URL too, of the scheme `localhost`. */
function urlProblem(schemes: readonly string[], value: string): string | undefined {
  const isUrl = (part: string) => URL.canParse(part) && schemes.includes(new URL(part).protocol) && new URL(part).host
  const example = `${schemes.join('// or ')}//`
  return value.split(',').every((part) => isUrl(part.trim())) ? undefined : `is not a URL that starts with ${example}`
}

/** What is wrong with the value, as the end of a sentence that starts with it; undefined when nothing is. */
function problemOf(setting: Setting, value: string): string | undefined {
  switch (setting.kind) {
    case 'text':
    case 'path':
    case 'host':
    case 'secret':
      return undefined
    case 'domains':
      return listOf(value).every(isDomain) ? undefined : 'is not a list of domain names'
    case 'domain-patterns':
      return listOf(value).every((part) => part === '*' || isDomain(part.replace(/^\*\./, '')))
        ? undefined
        : 'is not a list of domain names, *.<domain name> or *'
    case 'networks':
      return listOf(value).every(isNetwork) ? undefined : 'is not a list of addresses like 127.0.0.1 or 10.0.0.0/8'
    case 'name':
      return /^[A-Za-z0-9_-]{1,32}$/.test(value) ? undefined : 'is not 1-32 letters, digits, "_" or "-"'
    case 'switch':
      return value === 'on' || value === 'off' ? undefined : 'is not on or off'
    case 'labels': {
      const isLabel = (part: string) => /^[\w-]{1,32}(=[\w.:-]{1,64})?$/.test(part)
      return namesOf(value).every(isLabel) ? undefined : 'is not a list like region=eu,zone=a'
    }
    case 'choice': {
      const choices = setting.choices ?? []
      return choices.includes(value) ? undefined : `is not one of ${choices.join(', ')}`
    }
    case 'level':
      return (levels as readonly string[]).includes(value) ? undefined : `is not one of ${levels.join(', ')}`
    case 'url':
      return urlProblem(setting.schemes ?? [], value)
    case 'leaf-listen':
      return leafListenProblem(value)
    case 'leaf-urls':
      return urlsOf(value).every((part) => leafUrl(part))
        ? undefined
        : 'is not a list of nats-leaf://user:password@host:port'
    case 'port': {
      const port = numberOf(setting, value)
      return port !== undefined && Number.isInteger(port) && port <= 65535 ? undefined : 'is not a port (0-65535)'
    }
    case 'stream-sizes':
      return streamBytesOf(value) === undefined
        ? `is not a list like ${streamKinds.map((kind) => `${kind}=1GiB`).join(',')}`
        : undefined
    case 'memory':
      return value === 'auto' || value === 'off' ? undefined : problemOf({ ...setting, kind: 'bytes' }, value)
    case 'bytes':
    case 'seconds':
    case 'days':
    case 'count': {
      const number = numberOf(setting, value)
      if (number === undefined) return setting.kind === 'bytes' ? 'is not a size like 64MiB' : 'is not a number'
      if (setting.kind === 'count' && !Number.isInteger(number)) return 'is not a whole number'
      if (setting.min !== undefined && number < setting.min) return `is below ${setting.min}`
      if (setting.max !== undefined && number > setting.max) return `is above ${setting.max}`
      return undefined
    }
  }
}
