/** How often one root is read. */
export interface Rate {
  readonly root: string
  /** Reads a minute. */
  readonly rate: number
}

export interface DemandCounterOptions {
  /** After so long a read counts for half. */
  readonly halfLifeMs: number
  /** Roots that are counted; of more the least read are forgotten. */
  readonly rootsMax?: number
  /** Milliseconds that only go forward; for tests. */
  readonly now?: () => number
}

const rootsMaxDefault = 10_000
const rescaleAt = 2 ** 200

interface Counter {
  weight: number
}

/**
 * Counts reads with exponential decay, in a bounded number of counters. Nothing is ever decayed: a later read weighs more
 * instead, so that counting one is one addition. Where more roots are read than there are counters, the coldest half goes:
 * what is read often stays, and what is read once is not worth a copy.
 */
export class DemandCounter {
  readonly #counters = new Map<string, Counter>()
  readonly #halfLifeMs: number
  readonly #rootsMax: number
  readonly #now: () => number
  #startMs: number
  /** Weight of a read now. */
  #unit = 1

  constructor({ halfLifeMs, rootsMax = rootsMaxDefault, now = () => performance.now() }: DemandCounterOptions) {
    this.#halfLifeMs = halfLifeMs
    this.#rootsMax = rootsMax
    this.#now = now
    this.#startMs = now()
  }

  get size(): number {
    return this.#counters.size
  }

  /** One read. On the way of every request: `advance` moves the time. */
  count(root: string): void {
    const counter = this.#counters.get(root)
    if (counter !== undefined) {
      counter.weight += this.#unit
      return
    }
    if (this.#counters.size >= 2 * this.#rootsMax) this.#forgetColdest()
    this.#counters.set(root, { weight: this.#unit })
  }

  /** To be called now and then. */
  advance(): void {
    const nowMs = this.#now()
    this.#unit = 2 ** ((nowMs - this.#startMs) / this.#halfLifeMs)
    if (this.#unit < rescaleAt) return
    for (const counter of this.#counters.values()) counter.weight /= this.#unit
    this.#startMs = nowMs
    this.#unit = 1
  }

  /** Those from `rateMin` on, the highest first, `count` at the most. Colder than a hundredth of that is forgotten. */
  top(count: number, rateMin: number): readonly Rate[] {
    this.advance()
    // A steady rate r holds r · halfLife / ln 2 reads.
    const perWeight = Math.LN2 / (this.#halfLifeMs / 60_000) / this.#unit
    const rates: Rate[] = []
    for (const [root, { weight }] of this.#counters) {
      const rate = weight * perWeight
      if (rate >= rateMin) rates.push({ root, rate })
      else if (rate < rateMin / 100) this.#counters.delete(root)
    }
    return rates.sort((a, b) => b.rate - a.rate || (a.root < b.root ? -1 : 1)).slice(0, count)
  }

  #forgetColdest(): void {
    const byWeight = [...this.#counters].sort(([, a], [, b]) => a.weight - b.weight)
    for (const [root] of byWeight.slice(0, byWeight.length - this.#rootsMax)) this.#counters.delete(root)
  }
}
