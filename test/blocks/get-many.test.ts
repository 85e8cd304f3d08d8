import { expect, test } from 'vitest'
import type { Want } from '../../src/blocks/blockstore.ts'
import { getMany } from '../../src/blocks/get-many.ts'
import { MiB } from '../../src/lib/units.ts'
import { CountingStore, gather, putRaw, settled, signal } from '../support/dags.ts'

async function filled(count: number, hint: number | undefined): Promise<{ store: CountingStore; wants: Want[] }> {
  const store = new CountingStore()
  const wants: Want[] = []
  for (let index = 0; index < count; index++) {
    const cid = await putRaw(store, Buffer.from(`block ${index}`))
    wants.push(hint === undefined ? { cid } : { cid, bytes: hint })
  }
  return { store, wants }
}

test('blocks come in the order of the wants, each with its want', async () => {
  const { store, wants } = await filled(700, 1)
  const fetched = await gather(getMany(store, wants, { signal, readAheadBytes: 8 * MiB }))
  expect(fetched.map(({ bytes }) => Buffer.from(bytes).toString())).toEqual(wants.map((_, index) => `block ${index}`))
  expect(fetched.map(({ want }) => want)).toEqual(wants)
})

test('batches start with one block, double, and end at 256', async () => {
  const { store, wants } = await filled(1000, 1)
  await gather(getMany(store, wants, { signal, readAheadBytes: 8 * MiB }))
  expect(store.batches).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 233])
})

test('a batch holds half of the window by the hints, a want without one counting 1 MiB', async () => {
  const { store, wants } = await filled(40, undefined)
  await gather(getMany(store, wants, { signal, readAheadBytes: 8 * MiB }))
  expect(Math.max(...store.batches)).toBe(4)
})

test('an unread iterator asks for nothing, of the store or of its wants', async () => {
  const { store, wants } = await filled(10, 1)
  let pulled = 0
  const counted = (function* () {
    for (const want of wants) {
      pulled++
      yield want
    }
  })()
  const iterator = getMany(store, counted, { signal, readAheadBytes: 8 * MiB })
  await settled()
  expect([pulled, store.asked.length]).toEqual([0, 0])
  await iterator.return()
})

test('a consumer that stalls stops the reading at the window', async () => {
  const { store, wants } = await filled(400, MiB)
  const iterator = getMany(store, wants, { signal, readAheadBytes: 8 * MiB })
  for (let taken = 0; taken < 100; taken++) await iterator.next()
  await settled()
  const ahead = store.asked.length - 100
  expect(ahead).toBeGreaterThan(0)
  expect(ahead).toBeLessThanOrEqual(8)
  await iterator.return()
})

test('a block larger than the window passes, and with a window of 0 blocks come one at a time', async () => {
  const { store, wants } = await filled(5, 4 * MiB)
  expect(await gather(getMany(store, wants, { signal, readAheadBytes: 1 }))).toHaveLength(5)
  store.forget()
  const iterator = getMany(store, wants, { signal, readAheadBytes: 0 })
  await iterator.next()
  await settled()
  expect(store.asked).toHaveLength(1)
  await iterator.return()
})

test('return stops the source and asks for nothing more', async () => {
  const { store, wants } = await filled(400, MiB)
  let closed = false
  const source = (async function* () {
    try {
      yield* wants
    } finally {
      closed = true
    }
  })()
  for await (const _ of getMany(store, source, { signal, readAheadBytes: 8 * MiB })) break
  await settled()
  const asked = store.asked.length
  expect(closed).toBe(true)
  await settled()
  expect(store.asked).toHaveLength(asked)
  expect(asked).toBeLessThanOrEqual(3)
})

test('an abort ends the reading with its reason', async () => {
  const { store, wants } = await filled(400, MiB)
  const controller = new AbortController()
  const iterator = getMany(store, wants, { signal: controller.signal, readAheadBytes: 8 * MiB })
  await iterator.next()
  controller.abort(new Error('client left'))
  await expect(iterator.next()).rejects.toThrow('client left')
})

test('a missing block fails its batch, after all the blocks of the batches before', async () => {
  const { store, wants } = await filled(7, MiB)
  const lost = wants[5]
  if (lost === undefined) throw new Error('no such want')
  await store.delete(lost.cid, { signal })
  const iterator = getMany(store, wants, { signal, readAheadBytes: 8 * MiB })
  for (let index = 0; index < 3; index++) expect((await iterator.next()).done).toBe(false)
  await expect(iterator.next()).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
})

test('a failure of the source reaches the consumer', async () => {
  const { store, wants } = await filled(2, MiB)
  const source = (async function* () {
    yield* wants
    throw new Error('bad node')
  })()
  await expect(gather(getMany(store, source, { signal, readAheadBytes: 8 * MiB }))).rejects.toThrow('bad node')
})

test('a block that is wanted many times is asked for once in a batch', async () => {
  const { store, wants } = await filled(2, 1)
  const [a, b] = wants
  if (a === undefined || b === undefined) throw new Error('no such want')
  const fetched = await gather(getMany(store, [a, a, b, a, b, b, a], { signal, readAheadBytes: 8 * MiB }))
  expect(fetched.map(({ cid }) => cid.equals(a.cid))).toEqual([true, true, false, true, false, false, true])
  expect(store.batches).toEqual([1, 2, 2])
})
