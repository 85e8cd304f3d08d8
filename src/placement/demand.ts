import { isRecord } from '../lib/json.ts'
import { demandSubject, demandSubjects } from '../nats/layout.ts'
import type { Messaging } from '../nats/messaging.ts'
import { DemandCounter } from './demand-counter.ts'
import type { Demand as DemandOf } from './model.ts'

export interface DemandParts {
  readonly messaging: Messaging
  readonly domain: string
  readonly site: string
  readonly node: string
  readonly halfLifeMs: number
  /** Reads a minute at a site from which on a copy may be wanted there; from half of that on it is kept. */
  readonly rateMin: number
  /** A root that has become wanted at a site, or is so no more. */
  readonly onTurn: (root: string) => void
  readonly everyMs?: number
}

/** What one node said last. */
interface Said {
  readonly site: string
  readonly heardMs: number
  readonly rates: ReadonlyMap<string, number>
}

const everyMsDefault = 2_000
const rootsToldMax = 500
const messageBytesMax = 64 * 1024
const nodesMax = 1_000
/** Silence of so many turns is no demand. */
const turnsKept = 5

/**
 * How much is read where: each node counts the reads that it answers, as it records them, and says every few seconds which
 * roots are read most; every node adds up what it hears, by site. Nothing is stored: demand is of the moment.
 */
export class Demand {
  readonly #parts: DemandParts
  readonly #everyMs: number
  readonly #counter: DemandCounter
  readonly #said = new Map<string, Said>()
  /** `<site> <root>` that want a copy. */
  #hot = new Set<string>()
  readonly #listening: { stop(): void }
  readonly #timer: NodeJS.Timeout
  #saidSomething = false

  constructor(parts: DemandParts) {
    this.#parts = parts
    this.#everyMs = parts.everyMs ?? everyMsDefault
    this.#counter = new DemandCounter({ halfLifeMs: parts.halfLifeMs })
    const { messaging, domain } = parts
    this.#listening = messaging.listen(demandSubjects(domain), undefined, ({ data }) => this.#hear(data))
    this.#timer = setInterval(() => this.#turn(), this.#everyMs)
    this.#timer.unref()
  }

  /** A read of this node, of what began with this root. A failed one needs no copy. */
  read({ cid, status }: { readonly cid: string; readonly status: number }): void {
    if (status < 400) this.#counter.count(cid)
  }

  /** Reads a minute by site, of the sites where there are enough to speak of. */
  of(root: string): DemandOf {
    const rates: Record<string, number> = {}
    for (const { site, rates: said } of this.#said.values()) {
      const rate = said.get(root)
      if (rate !== undefined) rates[site] = (rates[site] ?? 0) + rate
    }
    return rates
  }

  close(): void {
    clearInterval(this.#timer)
    this.#listening.stop()
  }

  #turn(): void {
    const { messaging, domain, site, node, rateMin } = this.#parts
    // Several nodes of a site share its reads: each says what may add up to something.
    const top = this.#counter.top(rootsToldMax, rateMin / 8)
    const rates = new Map(top.map(({ root, rate }) => [root, Number(rate.toFixed(2))]))
    const nowMs = performance.now()
    for (const [from, { heardMs }] of this.#said) {
      if (nowMs - heardMs > turnsKept * this.#everyMs) this.#said.delete(from)
    }
    if (rates.size > 0) this.#said.set(node, { site, heardMs: nowMs, rates })
    else this.#said.delete(node)
    if (rates.size > 0 || this.#saidSomething) {
      try {
        messaging.send(demandSubject(domain, site, node), { data: JSON.stringify({ site, node, rates: [...rates] }) })
      } catch {
        // NATS is away: what the others heard last is soon forgotten.
      }
    }
    this.#saidSomething = rates.size > 0
    this.#judge()
  }

  #hear(data: Uint8Array): void {
    const said = saidIn(data)
    if (said === undefined || said.node === this.#parts.node) return
    if (!this.#said.has(said.node) && this.#said.size >= nodesMax) return
    this.#said.set(said.node, { site: said.site, heardMs: performance.now(), rates: said.rates })
    this.#judge()
  }

  /** Who has crossed the line, upwards at `rateMin` or downwards at half of it. */
  #judge(): void {
    const { rateMin, onTurn } = this.#parts
    const sums = new Map<string, number>()
    for (const { site, rates } of this.#said.values()) {
      for (const [root, rate] of rates) sums.set(`${site} ${root}`, (sums.get(`${site} ${root}`) ?? 0) + rate)
    }
    const before = this.#hot
    const hot = new Set<string>()
    for (const [key, rate] of sums) if (rate >= (before.has(key) ? rateMin / 2 : rateMin)) hot.add(key)
    this.#hot = hot
    const turned = [...hot].filter((key) => !before.has(key)).concat([...before].filter((key) => !hot.has(key)))
    for (const root of new Set(turned.map((key) => key.slice(key.indexOf(' ') + 1)))) onTurn(root)
  }
}

/** Undefined for what is none: anyone may publish. */
function saidIn(data: Uint8Array) {
  if (data.byteLength > messageBytesMax) return undefined
  try {
    const said = JSON.parse(Buffer.from(data).toString('utf8')) as unknown
    if (!isRecord(said) || !Array.isArray(said.rates) || said.rates.length > rootsToldMax) return undefined
    const isName = (text: unknown): text is string => typeof text === 'string' && /^[\w-]{1,64}$/.test(text)
    if (!isName(said.site) || !isName(said.node)) return undefined
    const rates = new Map<string, number>()
    for (const pair of said.rates as readonly unknown[]) {
      if (!Array.isArray(pair)) return undefined
      const [root, rate] = pair as readonly unknown[]
      if (typeof root === 'string' && typeof rate === 'number' && rate > 0 && rate < 1e9) rates.set(root, rate)
    }
    return { site: said.site, node: said.node, rates }
  } catch {
    return undefined
  }
}
