import type { Logger } from 'pino'
import { createApi } from './api/server.ts'
import { keepHashes } from './auth/kept-hashes.ts'
import { settleSecrets } from './auth/settle.ts'
import { type AdminToken, createAuth } from './auth/token.ts'
import { cached } from './blocks/cached.ts'
import { inline } from './blocks/inline.ts'
import { RoutedBlockstore } from './blocks/routed.ts'
import { spacious } from './blocks/spacious.ts'
import { Stores } from './blocks/stores.ts'
import { verified } from './blocks/verified.ts'
import { startComms } from './comms/comms.ts'
import type { Config } from './config.ts'
import { createVerbs } from './content/commands.ts'
import { createDeadLetterLog } from './content/dead-letter.ts'
import { DnsLinks } from './content/dns-link.ts'
import { createGet } from './content/get.ts'
import { createIndexMaintenance } from './content/index-maintenance.ts'
import type { JudgeFailure } from './content/judged-get.ts'
import { createPublishing } from './content/publishing.ts'
import { createPut } from './content/put.ts'
import type { PolicyClass } from './content/put-command.ts'
import { createIpnsResolver, ipnsPathOf } from './content/resolve-ipns.ts'
import { openServing } from './content/serving.ts'
import { createInspect } from './content/stat.ts'
import { Feed } from './events/feed.ts'
import { faultText } from './events/log-fault.ts'
import { openReadLog } from './events/open-read-log.ts'
import { createGateway } from './gateway/server.ts'
import { fittingConnections } from './http/connection-shares.ts'
import { BufferPool } from './lib/buffer-pool.ts'
import { Closers } from './lib/closers.ts'
import { passBy, type Reach } from './lib/crash-point.ts'
import { MiB } from './lib/units.ts'
import { uuidv7 } from './lib/uuid.ts'
import { openFoldedLog } from './names/folded-log.ts'
import { startFolding } from './names/folding.ts'
import { LogRecovery } from './names/log-recovery.ts'
import { openNames } from './names/names.ts'
import { connectNats } from './nats/connection.ts'
import { durabilityOf } from './nats/durability.ts'
import { openEventStream, sourcePeer } from './nats/event-stream.ts'
import { createMessaging } from './nats/messaging.ts'
import { openPlace, withoutCredentials } from './nats/place.ts'
import { StoreRoom } from './nats/store-room.ts'
import { watchStreams } from './nats/stream-troubles.ts'
import { openTokenHashes } from './nats/token-hashes.ts'
import { openWorkQueue, queueBounds } from './nats/work-queue.ts'
import { denylistLog } from './observability/denylist-log.ts'
import { FreeSpace } from './observability/free-space.ts'
import { LimitHits } from './observability/limits.ts'
import { logWatchLog } from './observability/log-watch.ts'
import { nodeStatus } from './observability/node-status.ts'
import type { NodeStatus } from './observability/status.ts'
import { Unanswered } from './observability/unanswered.ts'
import { announceStore } from './placement/announce-store.ts'
import { BulkThread } from './placement/bulk-thread.ts'
import { recovering } from './placement/facts-keeper.ts'
import { Placement } from './placement/placement.ts'
import type { PlacementParts } from './placement/placement-parts.ts'

export interface RunningNode {
  readonly gatewayUrl: string
  readonly apiUrl: string
  /** Without credentials. */
  readonly natsUrl: string
  readonly dataDir: string
  readonly adminToken: AdminToken
  readonly durability: NodeStatus['nats']['durability']
  /** Takes no new requests, lets those under way finish within the configured time, stops nats-server last. */
  close(): Promise<void>
  /** Tells nats-server to end and waits for nothing: for a process that ends at once. */
  abandon(): void
}

export interface NodeParts {
  readonly log: Logger
  readonly version: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Ends a start under way. */
  readonly signal: AbortSignal
  /** For tests that end the process at a step of a command. */
  readonly reach?: Reach
}

/**
 * The composition root: every part, made once, from the bottom to the top. What was made is closed again, in reverse, when
 * a later part fails or the node ends.
 * @throws AppError with one of the set-up codes
 */
export async function startNode(config: Config, parts: NodeParts): Promise<RunningNode> {
  const { log, version, env, signal, reach = passBy } = parts
  const opened = new Closers()
  try {
    const place = await openPlace(config, { log, env, signal })
    opened.push(place.close)
    const nats = await connectNats(place.natsUrl, config.nats, log)
    opened.push(() => nats.close())
    if (nats.sizes.from === 'account') log.info('the NATS account wants a size for every stream: each gets its share')
    const durability = await durabilityOf(config.nats)

    const stores = await Stores.open(nats, config.layout, config.store)
    const { raw: stored } = stores.primary
    const freeSpace = place.server === undefined ? undefined : await FreeSpace.watch(place.dataDir)
    opened.push(() => freeSpace?.close())
    const [limitBytes, reserveBytes] = [place.server?.storeBytesMax, config.nats.diskReserveBytes]
    const room = await StoreRoom.watch({ nats, limitBytes, reserveBytes, disk: freeSpace })
    opened.push(() => room.close())
    let placement: Placement | undefined
    const routed = new RoutedBlockstore({
      primary: verified(spacious(stored, room)),
      others: () => placement?.others() ?? [],
      onFound: (found, failure) => placement?.onFound(found, failure),
    })
    const cache = cached(routed, config.store.cacheBytes)
    const blocks = inline(cache)

    const { domain, site, space } = config.layout
    const source = { domain, site, space, node: uuidv7() }
    const eventStream = await openEventStream(nats, config.layout)
    const feed = new Feed({ nats, stream: eventStream, domain, site, space, waitMs: config.store.storeWaitMs })
    const readRoom = { storeBytesMax: limitBytes, hasRoom: room.hasRoomForReads }
    const reads = await openReadLog(nats, config, source, readRoom)
    opened.push(async () => {
      const lost = (await reads?.close()) ?? 0
      if (lost > 0) log.warn({ reads: lost }, 'reads were not recorded: the server did not take them before the stop')
    })

    const { limits } = config
    const limitHits = { gateway: new LimitHits(), api: new LimitHits() }
    const unanswered = new Unanswered(log.child({ part: 'comms' }))
    const get = createGet({ blocks, limits })
    const judge: JudgeFailure = async (root, failure, signal) => placement?.judge(root, failure, signal) ?? failure
    const served = await openServing(config.denylist, { blocks, limits, judge, ...denylistLog(log) })
    opened.push(() => served.close())
    // A window of leaves; none of the wrappers keeps a block that was written.
    const pool = new BufferPool(MiB, Math.ceil(config.store.writeWindowBytes / MiB))
    const put = createPut({ blocks, limits, pool })
    const waitMs = config.store.storeWaitMs
    const told = logWatchLog(log, faultText, () => nats.isClosed)
    const refusal = () => room.refusal('growth')
    const folded = await openFoldedLog(nats, { stream: eventStream, layout: config.layout, waitMs, refusal, ...told })
    opened.push(folded.close)
    const { log: eventLog } = folded
    const names = await openNames(nats, { stream: eventStream, layout: config.layout, source, waitMs, reach })
    opened.push(() => names.close())
    const folding = await startFolding(nats, { ...config, folded, names, waitMs, reach, signal, ...told })
    opened.push(folding.close)
    if (reads !== undefined) folding.restoring('reads', reads)
    const { store } = config.layout
    const policyClass: PolicyClass = (content) => placement?.policyClassOf(content)
    const verbs = createVerbs({ put, get, blocks, log: eventLog, names, limits, store, policyClass, reach })
    opened.push(() => verbs.idle())
    const placementParts: PlacementParts = {
      ...{ nats, layout: config.layout, config: config.placement, stores, eventLog, names, source, limits, waitMs },
      bulk: new BulkThread({ natsUrl: place.natsUrl, nats: config.nats, store: config.store, limits }),
      freeBytes: () => freeSpace?.bytes,
      joinLog: (peer) => sourcePeer(nats, config.layout, peer),
      ...{ folded, auditEveryMs: config.auditEveryMs, onRemade: folding.onRemade },
      onLoss: ({ root }, err) => log.error({ cid: root, err, part: 'placement' }, 'no whole copy is left'),
      onTrouble: told.onPlacementTrouble,
    }
    if (config.placement.on) placement = await Placement.start(placementParts)
    else await announceStore(placementParts)
    opened.push(() => placement?.close())
    const dnsLinks = new DnsLinks({ patterns: config.dnsLinks })
    const lookupDnsLink = (domain: string, options: { signal: AbortSignal }) => dnsLinks.lookupDnsLink(domain, options)
    const { checkName } = served
    const ipns = createIpnsResolver({ names, limits, lookupDnsLink, checkName })
    const resolveIpns = ipnsPathOf(ipns)
    const hashes = await openTokenHashes(nats, config.layout.domain, config.layout.replicas)
    const auth = createAuth(hashes)
    const { adminToken, keysSecret } = await settleSecrets(config, {
      ...{ dataDir: place.dataDir, embedded: place.server !== undefined, hashes, log },
      hasKeys: async () => (await names.keys.list(signal)).length > 0,
    })
    folding.restoring('tokens', await keepHashes(hashes))
    const publishing = createPublishing({
      names,
      change: verbs.changeIpns,
      resolveName: verbs.resolveName,
      secret: keysSecret,
      onFailure: (err) => log.warn({ err }, 'an IPNS record could not be signed anew'),
    })
    opened.push(() => publishing.close())
    folding.projector.onNames = publishing.namesChanged
    const inspect = createInspect({ blocks: served.blocks, limits, judge })

    const surface = placement?.surface(verbs.resolveName)
    const objectStatus = placement?.propagation.statusOf.bind(placement.propagation)
    const counted = placement?.around.counting(reads) ?? reads
    const recorded = counted === undefined ? {} : { reads: counted }
    const wanted = { gateway: limits.connectionsMax, api: config.apiBounds.connectionsMax }
    const connections = await fittingConnections(wanted)
    const gateway = createGateway(
      {
        ...{ get: served.get, names: verbs, ipns, checkName, isDeleted: verbs.isDeleted, limitHits: limitHits.gateway },
        propagation: placement?.propagation,
        ...recorded,
        log: log.child({ part: 'gateway' }),
      },
      { listen: config.gateway, hosts: config.hosts, limits: { ...limits, connectionsMax: connections.gateway } },
    )
    const urls = { gateway: '', api: '' }
    const streams = watchStreams(nats, stored.buckets, domain, config)
    const status = () =>
      nodeStatus({
        ...{ version, layout: config.layout, dataDir: place.dataDir, urls, server: place.server, nats, durability },
        ...{ natsUrl: withoutCredentials(place.natsUrl), cache, limitHits, usage: streams.usage },
        replicas: stored.buckets[0]?.replicas ?? 1,
        logReport: folding.report,
        scrubReport: async () => placement?.upkeep.report(),
        disk: () => (freeSpace === undefined ? undefined : { freeBytes: freeSpace.bytes, reserveBytes }),
      })
    const ready = async (): Promise<void> => {
      eventLog.throwIfDamaged()
      await streams.ready()
    }
    const api = createApi(
      {
        verbs,
        feed,
        index: createIndexMaintenance(folding.keeper),
        logMaintenance: new LogRecovery({ nats, names, ...folded, keeper: folding.keeper, ...recovering(placement) }),
        ipns: { ...verbs, resolveIpns },
        publishing,
        isDeleted: verbs.isDeleted,
        ...{ propagation: placement?.propagation, projections: placement?.around.projections, objectStatus },
        ...recorded,
        scrub: placement?.upkeep,
        peers: placement?.peers,
        limitHits: limitHits.api,
        metrics: {
          limitHits,
          placement: placement === undefined ? undefined : () => placement.counts,
          unanswered: () => unanswered.counts,
          folding: folding.counts,
        },
        placement: surface === undefined ? undefined : { ...surface, site },
        ...{ get: served.get, inspect, auth, status, ready, log: log.child({ part: 'api' }) },
      },
      {
        listen: config.api,
        hosts: config.apiHosts,
        limits: { ...limits, ...config.apiBounds, connectionsMax: connections.api },
        ...{ readAccess: config.apiBounds.readAccess, trustedProxies: config.hosts.trustedProxies },
      },
    )
    opened.push(() => nats.closeIfAway())
    const grace = { graceMs: config.shutdownMs }
    const entrances: (() => Promise<void>)[] = [() => gateway.close(grace), () => api.close(grace)]
    // Together: none takes requests while another one finishes.
    opened.push(() => Promise.all(entrances.map((close) => close())))
    urls.gateway = urlOf(await gateway.listen())
    urls.api = urlOf(await api.listen())
    const queue = await openWorkQueue(nats, config.layout, queueBounds(config.comms, place.server?.storeBytesMax))
    folding.restoring('queue', queue)
    const comms = await startComms(
      {
        ...{ verbs: { ...verbs, resolveIpns }, get: served.get },
        ...{ inspect, auth, status, limits, version, unanswered, reads: counted },
        isDeleted: verbs.isDeleted,
        ...{ propagation: placement?.propagation, projections: placement?.around.projections },
        ...{ why: surface?.why, objectStatus },
        gatewayUrl: () => urls.gateway,
        messaging: createMessaging(nats),
        queue,
        deadLetters: createDeadLetterLog(eventLog, source),
        peerAnswers: placement?.peers.answers,
        log: log.child({ part: 'comms' }),
      },
      config,
    )
    entrances.push(() => comms.close(grace))
    signal.throwIfAborted()
    if (connections.openFilesMax !== undefined)
      log.debug(connections, 'the listeners have fewer connections than their settings say, as open files allow')
    return {
      gatewayUrl: urls.gateway,
      apiUrl: urls.api,
      natsUrl: withoutCredentials(place.natsUrl),
      dataDir: place.dataDir,
      adminToken,
      durability,
      close: () => opened.closeAll(),
      abandon: () => place.server?.abandon(),
    }
  } catch (error) {
    // The first failure is the one to tell of.
    await opened.closeAll().catch((cause: unknown) => log.debug({ err: cause }, 'a part could not be closed'))
    throw error
  }
}

function urlOf({ host, port }: { readonly host: string; readonly port: number }): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}
