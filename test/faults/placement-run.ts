import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { CID } from 'multiformats/cid'
import pino from 'pino'
import { type StoreRef, storeKey } from '../../src/blocks/store-ref.ts'
import { Stores } from '../../src/blocks/stores.ts'
import { readConfig } from '../../src/config.ts'
import { isAppError } from '../../src/errors.ts'
import { ByteRate } from '../../src/lib/byte-rate.ts'
import { connectNats } from '../../src/nats/connection.ts'
import { verifyDag } from '../../src/placement/copy-dag.ts'
import { rootEffects } from '../../src/placement/fold.ts'
import type { RootFacts } from '../../src/placement/model.ts'
import type { NodeProcess } from '../support/node-process.ts'
import { randomOf } from '../support/random.ts'
import { isAsWanted, keyOf, type SiteLog, settled, sitesOf, verifiedOf } from './site-logs.ts'

/** A node of the run, which can be killed and comes back with the same settings. */
export interface FaultyNode {
  readonly site: string
  readonly natsUrl: string
  /** Undefined while it is down. */
  node: NodeProcess | undefined
  start(): Promise<NodeProcess>
}

/** Something that is killed for a while. */
export interface Fault {
  readonly name: string
  strike(): Promise<void>
  mend(): Promise<void>
}

export interface PlacementRunOptions {
  readonly nodes: readonly FaultyNode[]
  readonly faults: readonly Fault[]
  /** JetStream replicas of each store. */
  readonly replicas: number
  readonly token: string
  readonly seed: number
  readonly copiesMin: number
  readonly putsMax: number
  readonly untilMs: number
  /**
   * How long the logs may stand still, after the last fault, before all of it is as the policy wants: nothing that is put off is
   * put off for longer. Work that goes on takes what the machine gives it.
   */
  readonly quietMsMax: number
  readonly log?: (line: string) => void
}

export interface PlacementRunResult {
  readonly attempts: number
  readonly acked: number
  readonly strikes: number
  readonly settleSeconds: number
  readonly copies: number
  readonly removals: number
  /** Acked and not read back, whole, at some site. */
  readonly lost: readonly string[]
  /** Verified by a log, and not whole in its store. */
  readonly hollow: readonly string[]
  /** A removal that the log of its steward shows at fewer copies than the policy wants. */
  readonly below: readonly string[]
  /** Not as the policy wants it when the time was over. */
  readonly unsettled: readonly string[]
}

const putsAtOnce = 3
const strikePauseMs = 1_500
const { signal } = new AbortController()
const silent = pino({ level: 'silent' })

/** Puts and moves while nodes and servers are killed; then everything comes back, and all that the logs say is checked. */
export async function placementRun(options: PlacementRunOptions): Promise<PlacementRunResult> {
  const random = randomOf(options.seed)
  const acked = new Map<string, number>()
  const state = { attempts: 0, strikes: 0, done: false }
  const striking = strikeAtRandom(options, random, state)
  const putter = async () => {
    while (state.attempts < options.putsMax && Date.now() < options.untilMs) {
      const seed = options.seed * 100_000 + ++state.attempts
      const bytes = Math.floor(random() ** 2 * 3_000_000)
      const up = options.nodes.filter(({ node }) => node !== undefined)
      const at = up[Math.floor(random() * up.length)]?.node
      const cid = at === undefined ? undefined : await put(at, options.token, contentOf(seed, bytes))
      if (cid === undefined) await delay(100)
      else acked.set(cid, seed)
    }
  }
  await Promise.all(Array.from({ length: putsAtOnce }, putter))
  state.done = true
  await striking
  for (const fault of options.faults) await fault.mend()
  const settlingMs = performance.now()
  const logs = await settled(options, [...acked.keys()])
  const settleSeconds = Math.round((performance.now() - settlingMs) / 1000)
  return {
    attempts: state.attempts,
    acked: acked.size,
    strikes: state.strikes,
    settleSeconds,
    ...(await judge(options, logs, [...acked.keys()])),
  }
}

async function strikeAtRandom(
  { faults, log }: PlacementRunOptions,
  random: () => number,
  state: { strikes: number; readonly done: boolean },
): Promise<void> {
  while (!state.done) {
    await delay(random() * strikePauseMs)
    const fault = faults[Math.floor(random() * faults.length)]
    if (fault === undefined || state.done) continue
    log?.(`strikes ${fault.name}`)
    state.strikes++
    await fault.strike()
    await delay(random() * strikePauseMs)
    await fault.mend()
  }
}

async function put({ apiUrl }: NodeProcess, token: string, body: Buffer): Promise<string | undefined> {
  try {
    const reply = await fetch(`${apiUrl}/api/v1/objects`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
      body,
      signal: AbortSignal.timeout(20_000),
    })
    const text = await reply.text()
    return reply.status === 201 ? (JSON.parse(text) as { cid: string }).cid : undefined
  } catch {
    return undefined
  }
}

async function judge(options: PlacementRunOptions, logs: readonly SiteLog[], cids: readonly string[]) {
  const lost: string[] = []
  const unsettled: string[] = []
  for (const cid of cids) {
    for (const { site, facts } of logs) {
      const known = facts.get(keyOf(cid))
      if (isAsWanted(known, options)) continue
      const copies = known?.copies.map((copy) => `${storeKey(copy)} ${copy.state}`).join(', ')
      unsettled.push(`${cid} in the log of ${site}: ${copies ?? 'unknown'}`)
    }
  }
  const { hollow, whole } = await inspect(options, logs)
  for (const cid of cids) if (!whole.has(keyOf(cid))) lost.push(cid)
  const copies = logs[0]?.messages.filter(({ subject }) => subject.includes('.copy.verified.')).length ?? 0
  const removals = logs[0]?.messages.filter(({ subject }) => subject.includes('.copy.removed.')).length ?? 0
  return { lost, hollow, unsettled, below: logs.flatMap((log) => belowMin(log, options)), copies, removals }
}

/** Every copy that is called verified is read, block by block. */
async function inspect(options: PlacementRunOptions, logs: readonly SiteLog[]) {
  const hollow: string[] = []
  const whole = new Set<string>()
  for (const node of sitesOf(options)) {
    const log = logs.find(({ site }) => site === node.site)
    const {
      nats: config,
      layout,
      store,
      limits,
    } = readConfig({
      STOWAGE_NATS_URL: node.natsUrl,
      STOWAGE_SITE: node.site,
      STOWAGE_SHARDS: '2',
      STOWAGE_REPLICAS: String(options.replicas),
    })
    const nats = await connectNats(node.natsUrl, config, silent)
    try {
      const stores = await Stores.open(nats, layout, store)
      const read = { signal, limits, rate: new ByteRate(Number.POSITIVE_INFINITY), readAheadBytes: 8 << 20 }
      for (const [key, facts] of log?.facts ?? []) {
        for (const copy of verifiedOf(facts).filter(({ site }) => site === node.site)) {
          const handle = await stores.find(copy)
          try {
            if (handle === undefined) throw new Error('there is no such store')
            await verifyDag(CID.parse(facts.root), handle.blocks, read)
            whole.add(key)
          } catch (error) {
            hollow.push(`${facts.root} in ${storeKey(copy)}: ${isAppError(error) ? error.code : String(error)}`)
          }
        }
      }
    } finally {
      await nats.close()
    }
  }
  return { hollow, whole }
}

/**
 * Each removal that a site decided on, with what its log said just before: those that are left must be as many as wanted.
 * And none may have been carried out that was not decided on.
 */
function belowMin({ site, messages }: SiteLog, { copiesMin }: PlacementRunOptions): string[] {
  const facts = new Map<string, RootFacts>()
  const below: string[] = []
  for (const message of messages) {
    const [, , by, , entity, verb] = message.subject.split('.')
    const text = Buffer.from(message.payload).toString('utf8')
    const isDecision = by === site && entity === 'copy' && verb === 'requested' && text.includes('"action":"remove"')
    const isEnd = by === site && entity === 'copy' && verb === 'removed'
    const data = isDecision || isEnd ? (JSON.parse(text) as { readonly data: StoreRef }).data : undefined
    for (const effect of rootEffects(message)) {
      const before = facts.get(effect.key)
      const after = effect.apply(before)
      if (after !== undefined) facts.set(effect.key, after)
      if (data === undefined) continue
      const copy = before?.copies.find((one) => storeKey(one) === storeKey(data))
      const left = verifiedOf(after).length
      if (isDecision && left < copiesMin)
        below.push(`${site} asked ${before?.root} out of ${storeKey(data)}: ${left} left`)
      if (isEnd && copy?.state === 'verified') below.push(`${site} removed ${before?.root}, which nobody had asked for`)
    }
  }
  return below
}

/** Bytes from a seed: any length, no two alike, made again instead of kept. */
function contentOf(seed: number, bytes: number): Buffer {
  const out = createHash('shake256', { outputLength: 4096 }).update(`put ${seed}`).digest()
  const content = Buffer.alloc(bytes + 16, out)
  for (let at = 0; at + 4 <= bytes; at += 65_536) content.writeUInt32LE(at / 65_536, at)
  return content
}
