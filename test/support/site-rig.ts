import { randomBytes } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import type { TestContext } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import type { Route } from '../../src/blocks/routed.ts'
import { type StoreRef, storeKey } from '../../src/blocks/store-ref.ts'
import { type StoreHandle, Stores } from '../../src/blocks/stores.ts'
import { readConfig, type SettingFlags } from '../../src/config.ts'
import { link } from '../../src/events/canonical.ts'
import { type CloudEvent, decodeEvent } from '../../src/events/envelope.ts'
import { EventLog } from '../../src/events/log.ts'
import { ByteRate } from '../../src/lib/byte-rate.ts'
import { rootKey } from '../../src/names/name-fold.ts'
import { connectNats, type Nats } from '../../src/nats/connection.ts'
import { nextAtLeader, openEventStream } from '../../src/nats/event-stream.ts'
import { KvBucket } from '../../src/nats/kv-bucket.ts'
import { placementBucket } from '../../src/nats/layout.ts'
import { LogReader } from '../../src/nats/log-reader.ts'
import { type MoveQueue, openMoveQueue } from '../../src/nats/move-queue.ts'
import { BulkWork } from '../../src/placement/bulk-work.ts'
import { Facts } from '../../src/placement/facts.ts'
import { Fence } from '../../src/placement/fence.ts'
import { Follower, type FollowerParts } from '../../src/placement/follower.ts'
import type { RootFacts } from '../../src/placement/model.ts'
import { encodeMove, type MoveTask, moveKey } from '../../src/placement/move.ts'
import { Recorder } from '../../src/placement/recorder.ts'
import { Replicator, type ReplicatorParts } from '../../src/placement/replicator.ts'
import { RootHistory } from '../../src/placement/root-history.ts'
import { SiteKeeper, type SiteKeeperParts } from '../../src/placement/site-keeper.ts'
import { Sweep, type SweepParts } from '../../src/placement/sweep.ts'
import { tookPuts } from '../../src/placement/took-puts.ts'
import { limits, pattern, putFile, putRaw, signal } from './dags.ts'
import { silent } from './stores.ts'

type OnFinished = TestContext['onTestFinished']

export type RigOptions = SettingFlags & { readonly abandonedMs?: number }

type RigParts = Pick<
  SiteRig,
  'nats' | 'config' | 'stores' | 'bucket' | 'facts' | 'reader' | 'recorder' | 'queue' | 'fence' | 'onFinished'
>

/** The parts of placement at one node of a site, over a real nats-server, each to be run by the test. */
export class SiteRig {
  readonly nats: Nats
  readonly config: ReturnType<typeof readConfig>
  readonly stores: Stores
  readonly bucket: KvBucket
  readonly facts: Facts
  readonly reader: LogReader
  readonly recorder: Recorder
  readonly queue: MoveQueue
  readonly fence: Fence
  readonly onFinished: OnFinished
  readonly trouble: unknown[] = []
  readonly heard: string[] = []
  readonly unlimited = new ByteRate(Number.POSITIVE_INFINITY)
  #sweep: Sweep | undefined

  private constructor(parts: RigParts) {
    this.nats = parts.nats
    this.config = parts.config
    this.stores = parts.stores
    this.bucket = parts.bucket
    this.facts = parts.facts
    this.reader = parts.reader
    this.recorder = parts.recorder
    this.queue = parts.queue
    this.fence = parts.fence
    this.onFinished = parts.onFinished
  }

  /** Several with the same `DOMAIN` are nodes of one site. */
  static async open(url: string, onFinished: OnFinished, options: RigOptions = {}): Promise<SiteRig> {
    const { abandonedMs, ...flags } = options
    const domain = `d${randomBytes(4).toString('hex')}`
    const config = readConfig({}, { DOMAIN: domain, SITE: 'here', STORE_WAIT_SECONDS: '5', SHARDS: '2', ...flags })
    const { layout } = config
    const nats = await connectNats(url, config.nats, silent)
    onFinished(() => nats.close())
    const stores = await Stores.open(nats, layout, config.store)
    const shared = { replicas: layout.replicas, waitMs: config.store.storeWaitMs }
    const bucket = await KvBucket.open(nats, placementBucket(layout.domain), { ...shared, description: 'test' })
    const stream = await openEventStream(nats, layout)
    const log = new EventLog(nats, stream, shared.waitMs)
    const source = {
      domain: layout.domain,
      site: layout.site,
      space: layout.space,
      node: randomBytes(4).toString('hex'),
    }
    const queue = await openMoveQueue(nats, layout)
    onFinished(async () => queue.stop())
    return new SiteRig({
      ...{ nats, config, stores, bucket, queue, onFinished },
      facts: new Facts(bucket, layout.space),
      reader: new LogReader(nats, stream, shared),
      recorder: new Recorder(log, source),
      fence: new Fence(bucket, layout, abandonedMs),
    })
  }

  at(store: string): StoreRef {
    return { site: this.config.layout.site, store }
  }

  /** A file of these leaves in the primary store, with its event. */
  async put(leaves: readonly Uint8Array[]): Promise<CID> {
    const memory = new MemoryBlockstore()
    const children = []
    const writer = this.stores.primary.blocks.openWriter({ signal })
    for (const bytes of leaves) {
      children.push({ cid: await putRaw(memory, bytes), size: BigInt(bytes.byteLength) })
      await writer.put(hashBlock(bytes, 0x55))
    }
    const { cid } = await putFile(memory, children)
    const root = await memory.get(cid, { signal })
    await writer.put(hashBlock(root, 0x70))
    await writer.flush()
    const bytes = leaves.reduce((sum, leaf) => sum + leaf.byteLength, root.byteLength)
    await this.tell(cid, bytes)
    return cid
  }

  async tell(cid: CID, size: number): Promise<void> {
    const text = cid.toString()
    const data = { cid: link(text), size, mediaType: null, store: this.stores.primary.store }
    await this.recorder.record({ entity: 'object', verb: 'added', key: text, subject: text, data }, { ...cause })
  }

  leaves(count: number, seed: number, bytes = 100): Uint8Array[] {
    return Array.from({ length: count }, (_, i) => pattern(bytes, seed * 10_000 + i + 1))
  }

  task(cid: CID, store: string, more: Partial<MoveTask> = {}): MoveTask {
    const to = this.at(store)
    const place = { root: cid.toString(), rootKey: rootKey(cid), to, from: [this.at(this.stores.primary.store)] }
    return { action: 'add', ...place, rule: 'test', why: 'test', correlation: 'c', causation: 'c', ...more }
  }

  async queued(task: MoveTask): Promise<boolean> {
    return this.queue.add(moveKey(task), encodeMove(task))
  }

  follower(more: Partial<FollowerParts> = {}): Follower {
    const { domain, space } = this.config.layout
    return new Follower({
      ...{ reader: this.reader, facts: this.facts, bucket: this.bucket, domain, space },
      onRoot: (key, facts) => {
        this.heard.push(key)
        this.#sweep?.heard(key, facts)
      },
      onMessages: async () => undefined,
      ...more,
    })
  }

  /** Runs until the test ends, or `stop` is called. */
  follow(follower: Follower = this.follower()): { readonly follower: Follower; stop(): Promise<void> } {
    const end = new AbortController()
    const running = follower.run(end.signal).catch((error: unknown) => {
      if (!end.signal.aborted) this.trouble.push(error)
    })
    // As a live event would.
    const waking = setInterval(() => follower.wake(), 20)
    const stop = async () => {
      clearInterval(waking)
      end.abort()
      await running
    }
    this.onFinished(stop)
    return { follower, stop }
  }

  replicator(more: Partial<ReplicatorParts> = {}): Replicator {
    const { queue, stores, facts, recorder, fence, nats, config } = this
    const bulk = new BulkWork({ nats, store: config.store, limits })
    const replicator = new Replicator({
      ...{ queue, stores, facts, recorder, bulk, bytesPerSecond: Number.POSITIVE_INFINITY, workers: 2 },
      history: new RootHistory({ facts, reader: this.reader, ...config.layout }),
      domainOf: (site) => site,
      makeStore: (store) => stores.make(store),
      isWanted: async () => true,
      takesCopies: () => true,
      swept: (store, end) => fence.swept(store, end),
      onTrouble: (error) => this.trouble.push(error),
      ...more,
    })
    this.onFinished(() => replicator.close())
    return replicator
  }

  sweep(follower: Follower, more: Partial<SweepParts> = {}): Sweep {
    const { nats, facts, fence, unlimited, config } = this
    const { domain, site, space } = config.layout
    const filter = `${domain}.evt.${site}.${space}.copy.requested.>`
    this.#sweep = new Sweep({
      ...{ nats, facts, fence, limits, rate: unlimited, waitMs: 5_000, graceMs: 0 },
      caughtUp: async (end) => {
        for (;;) {
          const next = await nextAtLeader(nats, `${domain}_events`, filter, follower.position + 1)
          if (next === undefined) return
          await follower.reached(next, end)
        }
      },
      tookPuts: (at) => tookPuts(nats, config.layout, at),
      routesBeside: () => [routeOf(this.stores.primary)],
      ...more,
    })
    return this.#sweep
  }

  keeper(more: Partial<SiteKeeperParts> = {}): SiteKeeper {
    const { nats, config, stores, recorder, reader, fence } = this
    return new SiteKeeper({
      ...{ nats, stores, recorder, reader, fence, layout: config.layout, config: config.placement },
      freeBytes: () => undefined,
      onTrouble: (error) => this.trouble.push(error),
      ...more,
    })
  }

  async factsOf(cid: CID): Promise<RootFacts | undefined> {
    return this.facts.get(rootKey(cid), signal)
  }

  async stateOf(cid: CID, store: string): Promise<string | undefined> {
    const facts = await this.factsOf(cid)
    return facts?.copies.find((copy) => storeKey(copy) === storeKey(this.at(store)))?.state
  }

  /** Copy events of a root, in order: `verified`, `requested remove`, … */
  async copyEvents(cid: CID): Promise<CloudEvent[]> {
    const events: CloudEvent[] = []
    for await (const { payload } of this.reader.from(this.recorder.copyFilter(cid.toString()), 1, signal)) {
      const event = decodeEvent(payload)
      if (event !== undefined) events.push(event)
    }
    return events
  }

  async verbs(cid: CID): Promise<string[]> {
    return (await this.copyEvents(cid)).map(({ type }) => type.split('.').find((part) => knownVerbs.has(part)) ?? type)
  }
}

const cause = { correlation: 'c', causation: 'c' }
const knownVerbs = new Set(['requested', 'made', 'verified', 'failed', 'removed', 'satisfied', 'degraded', 'repaired'])

export function routeOf({ site, store, blocks }: StoreHandle): Route {
  return { site, store, blocks, isLocal: true }
}
