import type { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import type { Abortable } from '../../src/blocks/blockstore.ts'
import { cached } from '../../src/blocks/cached.ts'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { AppError } from '../../src/errors.ts'
import { MiB } from '../../src/lib/units.ts'
import { putRaw, settled, signal } from '../support/dags.ts'

/** Answers when it is told to; an abort is its reason. */
class HeldStore extends MemoryBlockstore {
  readonly asked: { readonly answer: () => void; readonly fail: (error: Error) => void }[] = []

  override async get(cid: CID, options: Abortable): Promise<Uint8Array> {
    await new Promise<void>((answer, fail) => {
      this.asked.push({ answer, fail })
      options.signal.addEventListener('abort', () => fail(options.signal.reason))
    })
    return super.get(cid, options)
  }
}

async function open() {
  const store = new HeldStore()
  return { store, blocks: cached(store, MiB), cid: await putRaw(store, Buffer.from('block')) }
}

const text = async (read: Promise<Uint8Array>) => Buffer.from(await read).toString()

test('reads of one block at the same time share one read', async () => {
  const { store, blocks, cid } = await open()
  const reads = [1, 2, 3].map(() => text(blocks.get(cid, { signal })))
  store.asked[0]?.answer()
  expect(await Promise.all(reads)).toEqual(['block', 'block', 'block'])
  expect(store.asked).toHaveLength(1)
})

test('an outage that one of them meets is heard by all, who need not wait for it once more', async () => {
  const { store, blocks, cid } = await open()
  const reads = [1, 2, 3].map(() => blocks.get(cid, { signal }))
  const heard = Promise.allSettled(reads)
  store.asked[0]?.fail(new AppError('STORE_UNAVAILABLE', 'NATS does not answer'))
  await settled()
  expect(store.asked).toHaveLength(1)
  expect((await heard).map((one) => one.status === 'rejected' && one.reason.code)).toEqual(
    Array(3).fill('STORE_UNAVAILABLE'),
  )
})

test('when the one who asked leaves, those who joined ask again, once', async () => {
  const { store, blocks, cid } = await open()
  const leaving = new AbortController()
  const first = blocks.get(cid, { signal: leaving.signal })
  const joined = [1, 2].map(() => text(blocks.get(cid, { signal })))
  leaving.abort(new Error('left'))
  await expect(first).rejects.toThrow('left')
  await settled()
  expect(store.asked).toHaveLength(2)
  store.asked[1]?.answer()
  expect(await Promise.all(joined)).toEqual(['block', 'block'])
})

test('one who joined can leave, and the one who asked reads on', async () => {
  const { store, blocks, cid } = await open()
  const leaving = new AbortController()
  const first = text(blocks.get(cid, { signal }))
  const joined = blocks.get(cid, { signal: leaving.signal })
  leaving.abort(new Error('left'))
  await expect(joined).rejects.toThrow('left')
  store.asked[0]?.answer()
  expect(await first).toBe('block')
})
