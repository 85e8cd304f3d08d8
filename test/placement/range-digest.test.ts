import { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { rootKey } from '../../src/names/name-fold.ts'
import {
  answerBytesMax,
  answerRanges,
  type KeyRange,
  RangeSearch,
  rangesPerAskMax,
  SortedKeys,
} from '../../src/placement/range-digest.ts'
import { rootNamed } from '../support/placement.ts'

const askBytesMax = 16 * 1024

/** Asks until nothing is open; what each message may have is checked on the way. */
function reconcile(own: SortedKeys, theirs: SortedKeys, open?: readonly KeyRange[], messagesMax = 10_000) {
  const search = new RangeSearch(own, open)
  let messages = 0
  let bytes = 0
  for (let asks = search.next(); asks.length > 0 && messages < messagesMax; asks = search.next()) {
    const answers = JSON.parse(JSON.stringify(answerRanges(theirs, asks)))
    const sizes = [JSON.stringify(asks).length, JSON.stringify(answers).length]
    expect(sizes[0]).toBeLessThan(askBytesMax)
    expect(sizes[1]).toBeLessThan(answerBytesMax + 8 * 1024)
    bytes += (sizes[0] ?? 0) + (sizes[1] ?? 0)
    messages++
    search.take(answers)
  }
  return { missing: [...search.missing].sort(), extra: search.extra, messages, bytes, open: search.open }
}

const keyNamed = (text: string) => rootKey(CID.parse(rootNamed(text)))

/** The same numbers for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

const all = Array.from({ length: 100_000 }, (_, i) => keyNamed(`root ${i}`))

test('two sets of up to 100,000 keys with a few differences are reconciled exactly, in bounded messages', () => {
  for (const [size, seed] of [
    [0, 1],
    [1, 2],
    [63, 3],
    [64, 4],
    [65, 5],
    [1_000, 6],
    [10_000, 7],
    [100_000, 8],
    [100_000, 9],
  ] as const) {
    const random = randomOf(seed)
    const shared = all.slice(0, size)
    const differences = Math.floor(random() * 40)
    const mine = Array.from({ length: differences }, (_, i) => keyNamed(`mine ${seed} ${i}`))
    const theirs = Array.from({ length: Math.floor(random() * 40) + 1 }, (_, i) => keyNamed(`theirs ${seed} ${i}`))
    const left = SortedKeys.of([...shared, ...mine])
    const right = SortedKeys.of([...shared, ...theirs])
    const found = reconcile(left, right)
    expect(found.missing).toEqual([...theirs].sort())
    expect(found.extra).toBe(mine.length)
    // The cost goes by the differences, not by the size.
    expect(found.messages).toBeLessThan(60)
    expect(found.bytes).toBeLessThan(1024 * 1024)
    expect(reconcile(right, left).missing).toEqual([...mine].sort())
  }
})

test('equal sets cost one small message, whatever their size', () => {
  const keys = SortedKeys.of(all)
  const { missing, extra, messages, bytes } = reconcile(keys, SortedKeys.of(all))
  expect({ missing, extra, messages }).toEqual({ missing: [], extra: 0, messages: 1 })
  expect(bytes).toBeLessThan(200)
})

test('a site that knows nothing is told everything, in bounded messages', () => {
  const some = all.slice(0, 20_000)
  const { missing, messages } = reconcile(SortedKeys.of([]), SortedKeys.of(some))
  expect(missing).toEqual([...some].sort())
  expect(messages).toBeLessThan(200)
  const other = reconcile(SortedKeys.of(some), SortedKeys.of([]))
  expect(other).toMatchObject({ missing: [], extra: 20_000, messages: 1 })
})

test('a search that was stopped after any message goes on where it was, also with what came meanwhile', () => {
  const theirs = SortedKeys.of(all.slice(0, 5_000))
  const own = all.slice(0, 5_000).filter((_, i) => i % 50 !== 0)
  let known = [...own]
  let open: readonly KeyRange[] | undefined
  for (let rounds = 0; open === undefined || open.length > 0; rounds++) {
    expect(rounds).toBeLessThan(200)
    const found = reconcile(SortedKeys.of(known), theirs, open, 1)
    known = [...known, ...found.missing]
    open = JSON.parse(JSON.stringify(found.open)) as readonly KeyRange[]
  }
  expect(known.sort()).toEqual(all.slice(0, 5_000).sort())
})

test('an answer that is none is refused', () => {
  const search = () => new RangeSearch(SortedKeys.of(all.slice(0, 1_000)))
  const [first = '', second = ''] = all.slice(0, 2).sort()
  const digest = 'x'
  for (const answers of [
    [],
    [{ same: true }, { same: true }],
    [{ keys: [second, first] }],
    [{ keys: ['x'.repeat(1_000)] }],
    [{ parts: [] }],
    [{ parts: [{ to: '', count: 1, digest }] }],
    [
      {
        parts: [
          { to: 'b', count: 1, digest },
          { to: 'a', count: 1, digest },
          { to: '', count: 1, digest },
        ],
      },
    ],
    [
      {
        parts: [
          { to: '', count: 1, digest },
          { to: '', count: 1, digest },
        ],
      },
    ],
    [
      {
        parts: [
          { to: 'b', count: 1, digest },
          { to: 'c', count: 1, digest },
        ],
      },
    ],
  ] as const) {
    expect(() => search().take(answers as never)).toThrow(RangeError)
  }
})

test('more ranges than one question may have are not answered', () => {
  const asks = Array.from({ length: 500 }, () => ({ from: '', to: '', digest: 'x' }))
  expect(answerRanges(SortedKeys.of(all.slice(0, 10)), asks)).toHaveLength(rangesPerAskMax)
})
