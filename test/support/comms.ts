import { type ConnectionOptions, connect, headers, type NatsConnection } from '@nats-io/transport-node'
import type { TestContext } from 'vitest'
import { inline } from '../../src/blocks/inline.ts'
import { openNatsBlockstore } from '../../src/blocks/nats-blockstore.ts'
import { createNatsClient, type NatsClient, type NatsClientOptions } from '../../src/comms/client.ts'
import { startComms } from '../../src/comms/comms.ts'
import { readConfig, type SettingFlags } from '../../src/config.ts'
import { createDeadLetterLog } from '../../src/content/dead-letter.ts'
import { createGet } from '../../src/content/get.ts'
import { createIpnsResolver, ipnsPathOf } from '../../src/content/resolve-ipns.ts'
import { createInspect } from '../../src/content/stat.ts'
import type { Context, ReadRecord, Verbs } from '../../src/content/verbs.ts'
import { AppError } from '../../src/errors.ts'
import { type CloudEvent, decodeEvent } from '../../src/events/envelope.ts'
import { createMessaging } from '../../src/nats/messaging.ts'
import { openWorkQueue } from '../../src/nats/work-queue.ts'
import { Unanswered } from '../../src/observability/unanswered.ts'
import { silent } from './stores.ts'
import { openTestVerbs } from './verbs.ts'

type OnFinished = TestContext['onTestFinished']

export const token = 'test-token'
/** Of `ann`, who is no admin. */
export const userToken = 'user-token'

export interface TestComms {
  readonly domain: string
  /** A connection of a client: nothing of ours. */
  readonly connection: NatsConnection
  readonly client: NatsClient
  readonly clientWith: (options: Partial<NatsClientOptions>) => NatsClient
  /** The commands that reached the verbs of this node, in their order. */
  readonly acts: readonly { readonly verb: string; readonly context: Context }[]
  readonly reads: readonly ReadRecord[]
  readonly serviceId: string
  readonly unanswered: Unanswered
  /** What the node warned of. */
  readonly warned: readonly object[]
  /** Everything in the event log. */
  events(): Promise<CloudEvent[]>
  close(): Promise<void>
  /** As if its process were killed: the connection to NATS goes. */
  kill(): Promise<void>
}

export interface TestCommsOptions {
  readonly flags?: SettingFlags
  /** Of another node, to be a second one beside it. */
  readonly domain?: string
  readonly verbs?: (verbs: Verbs) => Verbs
  readonly pausesMs?: readonly number[]
}

/** All that a node is on NATS, without its listeners, on a real server, in a domain of its own. */
export async function startTestComms(
  url: string,
  onFinished: OnFinished,
  options: TestCommsOptions = {},
): Promise<TestComms> {
  const node = await openTestVerbs(url, onFinished, options.domain === undefined ? {} : { domain: options.domain })
  const { domain, nats, log, source } = node
  const flags = { DOMAIN: domain, STORE: 'a', SHARDS: '1', NATS_COMMANDS: 'open', ...queueBounds, ...options.flags }
  const { limits, layout, comms, store } = readConfig({}, flags)
  const blocks = inline(await openNatsBlockstore(nats, layout, store))
  const acts: { verb: string; context: Context }[] = []
  const reads: ReadRecord[] = []
  const verbs = {
    ...recording(options.verbs?.(node.verbs) ?? node.verbs, acts),
    resolveIpns: ipnsPathOf(createIpnsResolver({ names: node.names, limits })),
  }
  const warned: object[] = []
  const unanswered = new Unanswered({ warn: (fields: object) => void warned.push(fields) } as ConstructorParameters<
    typeof Unanswered
  >[0])
  const running = await startComms(
    {
      get: createGet({ blocks, limits }),
      inspect: createInspect({ blocks, limits }),
      verbs,
      isDeleted: node.verbs.isDeleted,
      reads: { read: (_context, record) => void reads.push(record) },
      status: async () => ({ version: 'test' }),
      auth: { authenticate },
      gatewayUrl: () => 'http://gateway.test',
      messaging: createMessaging(nats),
      queue: await openWorkQueue(nats, layout, comms),
      deadLetters: createDeadLetterLog(log, source),
      limits,
      version: '1.2.3',
      unanswered,
      log: silent,
    },
    { comms, layout, pausesMs: options.pausesMs ?? [10] },
  )
  const close = () => running.close({ graceMs: 0 })
  onFinished(close)
  const connection = await clientConnection(url, onFinished)
  const clientWith = (more: Partial<NatsClientOptions>) =>
    createNatsClient(connection, { domain, headers, timeoutMs: 10_000, ...more })
  const events = async () =>
    (await node.events()).flatMap(({ payload }) => {
      const event = decodeEvent(payload)
      return event === undefined ? [] : [event]
    })
  return {
    domain,
    connection,
    client: clientWith({}),
    clientWith,
    acts,
    reads,
    serviceId: running.serviceId,
    unanswered,
    warned,
    events,
    close,
    kill: () => nats.close(),
  }
}

/** A server sets them aside whole, for each domain of a test. */
const queueBounds = { QUEUE_BYTES_MAX: '64MiB', DEAD_BYTES_MAX: '64MiB' }

export async function clientConnection(
  url: string,
  onFinished: OnFinished,
  options: ConnectionOptions = {},
): Promise<NatsConnection> {
  const connection = await connect({ servers: url, ...options })
  onFinished(() => connection.close())
  return connection
}

function recording(verbs: Verbs, acts: { verb: string; context: Context }[]): Verbs {
  const note = (verb: string, context: Context) => acts.push({ verb, context })
  return {
    ...verbs,
    put: (context, ...rest) => {
      note('put', context)
      return verbs.put(context, ...rest)
    },
    changeNames: (context, ...rest) => {
      note('changeNames', context)
      return verbs.changeNames(context, ...rest)
    },
  }
}

async function authenticate(header: string | undefined) {
  if (header === `Bearer ${token}`) return { name: 'admin', kind: 'admin' } as const
  if (header === `Bearer ${userToken}`) return { name: 'ann', kind: 'user' } as const
  throw new AppError('UNAUTHORIZED', 'a valid token is needed')
}

/** A message's headers from plain values. */
export function headersFrom(values: Readonly<Record<string, string>>) {
  const result = headers()
  for (const [name, value] of Object.entries(values)) result.set(name, value)
  return result
}
