import { createHash } from 'node:crypto'

/**
 * Two sites find out which root keys one of them lacks without sending them all: whoever asks sends digests of ranges of its
 * sorted keys, the other answers for each range that it has the same, or how it goes on inside (digests of parts), or, where
 * few are left, the keys themselves. Ranges that agree are never looked into, so the cost goes by the differences.
 * Pure: the state is the list of open ranges, so that it can stop after any message and go on later.
 */

/** From `from` on up to, without it, `to`. `''` is the beginning, or the end. */
export interface KeyRange {
  readonly from: string
  readonly to: string
}

export interface RangeAsk extends KeyRange {
  /** See `SortedKeys.digest`. */
  readonly digest: string
}

export interface RangePart {
  /** Where it ends; it begins where the one before it ended. */
  readonly to: string
  readonly count: number
  readonly digest: string
}

export type RangeAnswer =
  | { readonly same: true }
  | { readonly keys: readonly string[] }
  | { readonly parts: readonly RangePart[] }

/** Of one question. With keys of 59 characters a question has some 12 KB. */
export const rangesPerAskMax = 64
/** Of one answer, roughly: what does not fit is asked for again. In bytes. */
export const answerBytesMax = 128 * 1024
/** Hashed for one answer, roughly: wide ranges are few with an honest asker. */
const keysHashedMax = 250_000
/** Fewer keys than that are listed, not divided. */
const keysListedMax = 64
const partsPerRange = 16
const keyLengthMax = 128

/** Keys in the order of their UTF-16 code units, each once. */
export class SortedKeys {
  readonly #keys: readonly string[]

  /** @param keys sorted, each once */
  constructor(keys: readonly string[]) {
    this.#keys = keys
  }

  static of(keys: Iterable<string>): SortedKeys {
    return new SortedKeys([...new Set(keys)].sort())
  }

  get size(): number {
    return this.#keys.length
  }

  has(key: string): boolean {
    return this.#keys[this.#indexOf(key)] === key
  }

  within(range: KeyRange): readonly string[] {
    return this.#keys.slice(...this.bounds(range))
  }

  /** Indexes: the first, and the one after the last. */
  bounds({ from, to }: KeyRange): readonly [number, number] {
    return [from === '' ? 0 : this.#indexOf(from), to === '' ? this.#keys.length : this.#indexOf(to)]
  }

  /** Of the keys with these indexes: 16 bytes of SHA-256 as base64url; equal for equal keys. */
  digest(first: number, end: number): string {
    const hash = createHash('sha256')
    for (let at = first; at < end; at += digestKeysAtOnce) {
      hash.update(`${this.#keys.slice(at, Math.min(end, at + digestKeysAtOnce)).join('\n')}\n`)
    }
    return hash.digest().subarray(0, 16).toString('base64url')
  }

  /** Shortest text that is above the key before `index` and not above the one there: where a part ends. */
  border(index: number): string {
    const [before = '', key = ''] = [this.#keys[index - 1], this.#keys[index]]
    let shared = 0
    while (shared < before.length && before[shared] === key[shared]) shared++
    return key.slice(0, shared + 1)
  }

  #indexOf(key: string): number {
    let low = 0
    let high = this.#keys.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#keys[middle] ?? '') < key) low = middle + 1
      else high = middle
    }
    return low
  }
}

const digestKeysAtOnce = 1024

/**
 * What the asked site answers, one answer for each range and in their order; fewer, when one message cannot hold them all.
 * The first one is always answered.
 */
export function answerRanges(keys: SortedKeys, asks: readonly RangeAsk[]): readonly RangeAnswer[] {
  const answers: RangeAnswer[] = []
  let bytes = 0
  let hashed = 0
  for (const ask of asks.slice(0, rangesPerAskMax)) {
    if (bytes > answerBytesMax || hashed > keysHashedMax) break
    const [first, end] = keys.bounds(ask)
    hashed += end - first
    const answer = answerRange(keys, ask)
    bytes += JSON.stringify(answer).length
    answers.push(answer)
  }
  return answers
}

function answerRange(keys: SortedKeys, ask: RangeAsk): RangeAnswer {
  const [first, end] = keys.bounds(ask)
  if (keys.digest(first, end) === ask.digest) return { same: true }
  if (end - first <= keysListedMax) return { keys: keys.within(ask) }
  const parts: RangePart[] = []
  const step = Math.ceil((end - first) / partsPerRange)
  for (let at = first; at < end; at += step) {
    const next = Math.min(end, at + step)
    const to = next === end ? ask.to : keys.border(next)
    parts.push({ to, count: next - at, digest: keys.digest(at, next) })
  }
  return { parts }
}

/** The side that asks: goes over all keys once, and may be stopped and gone on with between any two messages. */
export class RangeSearch {
  readonly #own: SortedKeys
  readonly #missing: string[] = []
  #open: KeyRange[]
  #extra = 0

  /** @param open what an earlier search has left to do */
  constructor(own: SortedKeys, open: readonly KeyRange[] = [{ from: '', to: '' }]) {
    this.#own = own
    this.#open = [...open]
  }

  /** Keys that the other side has and this one has not, so far. */
  get missing(): readonly string[] {
    return this.#missing
  }

  /** How many keys this side has and the other one has not, so far. */
  get extra(): number {
    return this.#extra
  }

  /** What is left to ask. Empty = done. */
  get open(): readonly KeyRange[] {
    return this.#open
  }

  /** The next question; empty when there is none left. */
  next(): readonly RangeAsk[] {
    return this.#open
      .slice(0, rangesPerAskMax)
      .map((range) => ({ ...range, digest: this.#own.digest(...this.#own.bounds(range)) }))
  }

  /**
   * Takes the answer to `next`.
   * @throws RangeError for an answer that is none: keys outside of their range, parts that do not cover it
   */
  take(answers: readonly RangeAnswer[]): void {
    const asked = this.#open.slice(0, rangesPerAskMax)
    if (answers.length === 0 || answers.length > asked.length) throw new RangeError('not as many answers as ranges')
    const narrower = answers.flatMap((answer, index) => {
      const range = asked[index]
      return range === undefined ? [] : this.#narrowed(range, answer)
    })
    // Deepest first: what is open stays short.
    this.#open = [...narrower, ...this.#open.slice(answers.length)]
  }

  #narrowed(range: KeyRange, answer: RangeAnswer): KeyRange[] {
    if ('same' in answer) return []
    if ('keys' in answer) {
      this.#takeKeys(range, answer.keys)
      return []
    }
    const narrower: KeyRange[] = []
    const { parts } = answer
    let from = range.from
    if (parts.length < 2 || parts.at(-1)?.to !== range.to) throw new RangeError('parts do not cover their range')
    for (const [index, { to, count, digest }] of parts.entries()) {
      const isEnd = to === '' && index === parts.length - 1
      if (to.length > keyLengthMax || (!isEnd && to <= from)) throw new RangeError('parts are not in order')
      const part = { from, to }
      const [first, end] = this.#own.bounds(part)
      if (count === 0) this.#extra += end - first
      else if (this.#own.digest(first, end) !== digest) narrower.push(part)
      from = to
    }
    return narrower
  }

  #takeKeys(range: KeyRange, keys: readonly string[]): void {
    let before = ''
    for (const key of keys) {
      const isInside = key >= range.from && (range.to === '' || key < range.to) && key.length <= keyLengthMax
      if (!isInside || key <= before) throw new RangeError('keys are not those of the range')
      before = key
    }
    const theirs = new Set(keys)
    const own = this.#own.within(range)
    const ours = new Set(own)
    for (const key of keys) if (!ours.has(key)) this.#missing.push(key)
    for (const key of own) if (!theirs.has(key)) this.#extra++
  }
}
