import { setTimeout as delay } from 'node:timers/promises'
import { CID } from 'multiformats/cid'
import pino from 'pino'
import { readConfig } from '../../src/config.ts'
import { type LogMessage, rootKey } from '../../src/names/name-fold.ts'
import { connectNats, type Nats } from '../../src/nats/connection.ts'
import { LogReader } from '../../src/nats/log-reader.ts'
import { rootEffects } from '../../src/placement/fold.ts'
import type { RootFacts } from '../../src/placement/model.ts'
import type { FaultyNode, PlacementRunOptions } from './placement-run.ts'

/** The log of a site, and what it says of each root. */
export interface SiteLog {
  readonly site: string
  readonly messages: readonly LogMessage[]
  readonly facts: ReadonlyMap<string, RootFacts>
}

const lookMs = 1_000
/** However much goes on: what never ends is no settling. */
const settleMsMax = 15 * 60_000
const { signal } = new AbortController()

/** Reads the logs on and on until every one says of all roots that they are as wanted, or nothing more comes. */
export async function settled(options: PlacementRunOptions, cids: readonly string[]): Promise<readonly SiteLog[]> {
  const logs = await Promise.all(sitesOf(options).map((node) => GrowingLog.open(node, options.replicas)))
  try {
    const endMs = performance.now() + settleMsMax
    let grownMs = performance.now()
    for (;;) {
      const grown = await Promise.all(logs.map((log) => log.readOn()))
      const nowMs = performance.now()
      if (grown.some(Boolean)) grownMs = nowMs
      const open = cids.filter((cid) => logs.some(({ facts }) => !isAsWanted(facts.get(keyOf(cid)), options)))
      if (open.length === 0 || nowMs - grownMs > options.quietMsMax || nowMs > endMs) return logs
      await delay(lookMs)
    }
  } finally {
    await Promise.all(logs.map((log) => log.close()))
  }
}

export const sitesOf = ({ nodes }: Pick<PlacementRunOptions, 'nodes'>): readonly FaultyNode[] =>
  nodes.filter(({ site }, at) => nodes.findIndex((one) => one.site === site) === at)

export const keyOf = (cid: string): string => rootKey(CID.parse(cid))

export const verifiedOf = (facts: RootFacts | undefined) =>
  facts?.copies.filter(({ state }) => state === 'verified') ?? []

export function isAsWanted(
  facts: RootFacts | undefined,
  { copiesMin }: Pick<PlacementRunOptions, 'copiesMin'>,
): boolean {
  const copies = facts?.copies ?? []
  return copies.length === copiesMin && copies.every(({ state }) => state === 'verified')
}

/** Each look reads only what is new: the machine has the nodes to run. */
class GrowingLog implements SiteLog {
  readonly site: string
  readonly messages: LogMessage[] = []
  readonly facts = new Map<string, RootFacts>()
  readonly #nats: Nats
  readonly #reader: LogReader
  readonly #filter: string

  private constructor(site: string, nats: Nats, reader: LogReader, filter: string) {
    this.site = site
    this.#nats = nats
    this.#reader = reader
    this.#filter = filter
  }

  static async open({ site, natsUrl }: FaultyNode, replicas: number): Promise<GrowingLog> {
    const { nats: config, layout } = readConfig({ STOWAGE_NATS_URL: natsUrl, STOWAGE_SITE: site })
    const nats = await connectNats(natsUrl, config, pino({ level: 'silent' }))
    const reader = new LogReader(nats, `${layout.domain}_events`, { replicas, waitMs: 20_000 })
    return new GrowingLog(site, nats, reader, `${layout.domain}.evt.*.${layout.space}.>`)
  }

  /** @returns whether there was something new */
  async readOn(): Promise<boolean> {
    const before = this.messages.length
    const next = (this.messages.at(-1)?.sequence ?? 0) + 1
    for await (const message of this.#reader.from(this.#filter, next, signal)) {
      this.messages.push(message)
      for (const effect of rootEffects(message)) {
        const after = effect.apply(this.facts.get(effect.key))
        if (after !== undefined) this.facts.set(effect.key, after)
      }
    }
    return this.messages.length > before
  }

  close(): Promise<void> {
    return this.#nats.close()
  }
}
