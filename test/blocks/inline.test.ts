import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { verifyBlock } from '../../src/blocks/block.ts'
import { inline } from '../../src/blocks/inline.ts'
import { CountingStore, putRaw, signal } from '../support/dags.ts'

const identity = (text: string) => CID.createV1(0x55, Digest.create(0, Buffer.from(text)))

test('identity CIDs are answered from the CID and never reach the store', async () => {
  const store = new CountingStore()
  const blocks = inline(store)
  const cid = identity('hello')
  expect(Buffer.from(await blocks.get(cid, { signal })).toString()).toBe('hello')
  expect(await blocks.has(cid, { signal })).toBe(true)
  expect(await blocks.size(cid, { signal })).toBe(5)
  expect(await blocks.put(verifyBlock(cid, Buffer.from('hello')), { signal })).toBe(false)
  await blocks.delete(cid, { signal })
  expect([store.count, store.asked.length]).toEqual([0, 0])
})

test('a batch of both kinds keeps its order', async () => {
  const store = new CountingStore()
  const one = await putRaw(store, Buffer.from('one'))
  const two = await putRaw(store, Buffer.from('two'))
  const wants = [identity('a'), one, identity('b'), identity('c'), two].map((cid) => ({ cid }))
  const fetched = await inline(store).getBatch(wants, { signal })
  expect(fetched.map((bytes) => Buffer.from(bytes).toString())).toEqual(['a', 'one', 'b', 'c', 'two'])
  expect(store.batches).toEqual([2])
})

test('a writer counts identity blocks and keeps them from the store', async () => {
  const store = new CountingStore()
  const writer = inline(store).openWriter({ signal })
  await writer.put(verifyBlock(identity('a'), Buffer.from('a')))
  expect(await writer.flush()).toEqual({ blocks: 1, newBlocks: 0 })
  expect(store.count).toBe(0)
})

test('an identity CID of more than 128 bytes is CID_INVALID', async () => {
  const blocks = inline(new CountingStore())
  await expect(blocks.get(identity('x'.repeat(129)), { signal })).rejects.toMatchObject({ code: 'CID_INVALID' })
  expect(await blocks.size(identity('x'.repeat(128)), { signal })).toBe(128)
})
