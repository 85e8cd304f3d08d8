import { expect, test } from 'vitest'
import { type HashedBlock, hashBlock } from '../../src/blocks/block.ts'
import { type HasMany, WindowedWriter } from '../../src/blocks/windowed-writer.ts'
import { ByteBudget } from '../../src/lib/byte-budget.ts'
import { KiB, MiB } from '../../src/lib/units.ts'

const { signal } = new AbortController()
const block = (number: number): HashedBlock => hashBlock(Buffer.from(`block ${number}`), 0x55)

test('known blocks are looked up by the hundred, one request after the other', async () => {
  const asked: number[] = []
  let atOnce = 0
  let atOnceMax = 0
  const hasMany: HasMany = async (cids) => {
    atOnceMax = Math.max(atOnceMax, ++atOnce)
    asked.push(cids.length)
    await new Promise(setImmediate)
    atOnce--
    return cids.map(() => true)
  }
  const writes: HashedBlock[] = []
  const write = async (one: HashedBlock) => {
    writes.push(one)
    return false
  }
  const writer = new WindowedWriter(new ByteBudget(32 * MiB), write, hasMany, signal)
  for (let number = 0; number < 3_000; number++) await writer.put(block(number))
  expect(await writer.flush()).toEqual({ blocks: 3_000, newBlocks: 0 })
  expect(atOnceMax).toBe(1)
  expect(Math.max(...asked)).toBeLessThanOrEqual(512)
  // Those before the run of known ones began were written, and found to be there.
  expect(writes.length + asked.reduce((sum, count) => sum + count, 0)).toBe(3_000)
  expect(asked.length).toBeLessThan(30)
})

test('what a lookup does not find is written, and a lookup that fails is the failure of the upload', async () => {
  const isKnown = (one: { toString(): string }) => String(one) !== String(block(700).cid)
  const written: string[] = []
  const write = async ({ cid }: HashedBlock) => {
    written.push(String(cid))
    return !isKnown(cid)
  }
  const many: HasMany = async (cids) => cids.map(isKnown)
  const writer = new WindowedWriter(new ByteBudget(MiB), write, many, signal)
  for (let number = 0; number < 1_000; number++) await writer.put(block(number))
  expect(await writer.flush()).toEqual({ blocks: 1_000, newBlocks: 1 })
  expect(written).toContain(String(block(700).cid))

  const failing = new WindowedWriter(
    new ByteBudget(MiB),
    async () => false,
    () => Promise.reject(new Error('away')),
    signal,
  )
  const all = (async () => {
    for (let number = 0; number < 1_000; number++) await failing.put(block(number))
    await failing.flush()
  })()
  await expect(all).rejects.toThrow('away')
})

test('small blocks do not fill the window by the ten thousand', async () => {
  let atOnce = 0
  let atOnceMax = 0
  const write = async () => {
    atOnceMax = Math.max(atOnceMax, ++atOnce)
    await new Promise(setImmediate)
    atOnce--
    return true
  }
  const writer = new WindowedWriter(new ByteBudget(256 * KiB), write, async () => [], signal)
  for (let number = 0; number < 1_000; number++) await writer.put(block(number))
  await writer.flush()
  expect(atOnceMax).toBeGreaterThan(1)
  expect(atOnceMax).toBeLessThanOrEqual(64)
})
