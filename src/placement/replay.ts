import { CID } from 'multiformats/cid'
import { decodeEvent } from '../events/envelope.ts'
import { type LogMessage, linked, rootKey } from '../names/name-fold.ts'
import type { LogReader } from '../nats/log-reader.ts'
import { Backtest, type BacktestOptions, type BacktestResult, type ReadOfLog } from './backtest.ts'
import type { Facts } from './facts.ts'
import type { Inventory, RootContext, RootFacts } from './model.ts'
import type { CompiledPolicy } from './policy.ts'

export interface ReplayParts {
  /** The read log of a site; undefined while it cannot be reached. */
  readonly readsOf: (site: string) => Promise<Pick<LogReader, 'since'> | undefined>
  readonly facts: Pick<Facts, 'get'>
  readonly contextOf: (facts: RootFacts, signal: AbortSignal) => Promise<RootContext>
  readonly inventory: Inventory
  readonly domain: string
  readonly space: string
  readonly options?: BacktestOptions
}

export interface ReplayRange {
  readonly since: Date
  readonly until: Date
}

export interface Replay extends BacktestResult {
  /** That could not be asked: their reads are missing. */
  readonly sitesMissing: readonly string[]
  /** There were more reads than are replayed at a time, and the last ones are left out. */
  readonly cut: boolean
}

const readsMax = 1_000_000
const rootsMax = 100_000
const nowhere: RootContext = { names: [], demand: {}, projectedAt: [] }

/** Replays the read logs of the domain against a policy. Nothing is done. @throws AppError STORE_UNAVAILABLE */
export async function replay(
  policy: CompiledPolicy,
  { since, until }: ReplayRange,
  parts: ReplayParts,
  signal: AbortSignal,
): Promise<Replay> {
  const { facts, contextOf, inventory, readsOf } = parts
  const test = new Backtest(policy, inventory, parts.options)
  const contexts = new Map<string, RootContext>()
  const sitesMissing: string[] = []
  const logs: AsyncGenerator<ReadOfLog>[] = []
  for (const { site, state } of inventory.sites) {
    if (state !== 'active') continue
    const reader = await readsOf(site)
    if (reader === undefined) sitesMissing.push(site)
    else logs.push(readsIn(reader, site, { since, until }, parts, signal))
  }
  let count = 0
  for await (const read of merged(logs)) {
    if (++count > readsMax) break
    if (!test.knows(read.rootKey) && test.roots < rootsMax) {
      const known = await facts.get(read.rootKey, signal)
      if (known !== undefined) {
        const context = await contextOf(known, signal)
        contexts.set(read.rootKey, context)
        test.begin(read.rootKey, known, context, read.timeMs)
      }
    }
    test.read(read, contexts.get(read.rootKey) ?? nowhere)
  }
  return { ...test.result(), sitesMissing, cut: count > readsMax }
}

async function* readsIn(
  reader: Pick<LogReader, 'since'>,
  site: string,
  { since, until }: ReplayRange,
  { domain, space }: ReplayParts,
  signal: AbortSignal,
): AsyncGenerator<ReadOfLog> {
  for await (const message of reader.since(`${domain}.reads.${site}.${space}.object.read.>`, since, signal)) {
    const read = readIn(message, site)
    if (read === undefined) continue
    if (read.timeMs >= until.getTime()) return
    yield read
  }
}

function readIn({ payload }: LogMessage, site: string): ReadOfLog | undefined {
  const event = decodeEvent(payload)
  if (event === undefined) return undefined
  try {
    const { cid, bytes } = event.data
    const key = rootKey(linked(cid ?? { '/': CID.parse(event.subject).toString() }))
    return { rootKey: key, site, bytes: typeof bytes === 'number' ? bytes : 0, timeMs: Date.parse(event.time) }
  } catch {
    // Not a read that we wrote.
    return undefined
  }
}

/** Several logs as one, by time. */
async function* merged(logs: readonly AsyncGenerator<ReadOfLog>[]): AsyncGenerator<ReadOfLog> {
  const heads = await Promise.all(logs.map(async (log) => ({ log, head: await log.next() })))
  for (;;) {
    const [first] = heads
      .flatMap((one) => (one.head.done === true ? [] : [{ one, read: one.head.value }]))
      .sort((a, b) => a.read.timeMs - b.read.timeMs)
    if (first === undefined) return
    yield first.read
    first.one.head = await first.one.log.next()
  }
}
