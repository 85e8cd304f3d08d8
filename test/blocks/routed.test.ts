import type { CID } from 'multiformats/cid'
import { describe, expect, test } from 'vitest'
import { type Route, RoutedBlockstore, type RoutedParts } from '../../src/blocks/routed.ts'
import { verified } from '../../src/blocks/verified.ts'
import { AppError } from '../../src/errors.ts'
import { CountingStore, putRaw, signal } from '../support/dags.ts'

const unreachable = new AppError('STORE_UNAVAILABLE', 'cut off')

/** A store whose reads can be made to fail, or to give other bytes than were asked for. */
class FaultyStore extends CountingStore {
  /** What every read of it fails with. */
  failure?: AppError
  readonly damaged = new Set<string>()

  override async get(...args: Parameters<CountingStore['get']>): Promise<Uint8Array> {
    if (this.failure !== undefined) throw this.failure
    const bytes = await super.get(...args)
    return this.damaged.has(String(args[0])) ? Buffer.from('something else') : bytes
  }

  override async getBatch(...args: Parameters<CountingStore['getBatch']>): Promise<Uint8Array[]> {
    if (this.failure !== undefined) throw this.failure
    const read = await super.getBatch(...args)
    return read.map((bytes, i) => (this.damaged.has(String(args[0][i]?.cid)) ? Buffer.from('something else') : bytes))
  }

  override async has(...args: Parameters<CountingStore['has']>): Promise<boolean> {
    if (this.failure !== undefined) throw this.failure
    return super.has(...args)
  }
}

function routedOver(others: Readonly<Record<string, FaultyStore>>, locals: readonly string[] = []) {
  const primary = new FaultyStore()
  const found: { cid: string; from: string; code: string }[] = []
  const routes = Object.entries(others).map(
    ([store, blocks]): Route => ({ site: 's', store, blocks: verified(blocks), isLocal: locals.includes(store) }),
  )
  const onFound: RoutedParts['onFound'] = ({ cid, from }, { code }) =>
    found.push({ cid: cid.toString(), from: from.store, code })
  const blocks = new RoutedBlockstore({ primary: verified(primary), others: () => routes, onFound })
  return { blocks, primary, found }
}

const bytesOf = (text: string) => Buffer.from(text)
const wants = (...cids: CID[]) => cids.map((cid) => ({ cid }))

describe('reads over many stores', () => {
  test('what is here is read here, and nobody else is asked', async () => {
    const other = new FaultyStore()
    const { blocks, primary, found } = routedOver({ other })
    const cid = await putRaw(primary, bytesOf('here'))
    expect(Buffer.from(await blocks.get(cid, { signal })).toString()).toBe('here')
    await blocks.getBatch(wants(cid), { signal })
    expect(other.asked).toEqual([])
    expect(found).toEqual([])
  })

  test('what is missing, and what is damaged, is read elsewhere, in its place in the batch, and told', async () => {
    const other = new FaultyStore()
    const { blocks, primary, found } = routedOver({ other })
    const here = await putRaw(primary, bytesOf('here'))
    const there = await putRaw(other, bytesOf('there'))
    const damaged = await putRaw(primary, bytesOf('damaged here'))
    await putRaw(other, bytesOf('damaged here'))
    primary.damaged.add(damaged.toString())
    const read = await blocks.getBatch(wants(there, here, damaged), { signal })
    expect(read.map((bytes) => Buffer.from(bytes).toString())).toEqual(['there', 'here', 'damaged here'])
    expect(found).toEqual([
      { cid: there.toString(), from: 'other', code: 'BLOCK_NOT_FOUND' },
      { cid: damaged.toString(), from: 'other', code: 'BLOCK_CORRUPT' },
    ])
    expect(Buffer.from(await blocks.get(damaged, { signal })).toString()).toBe('damaged here')
    await expect(blocks.has(there, { signal })).resolves.toBe(true)
    await expect(blocks.size(there, { signal })).resolves.toBe(5)
  })

  test('a damaged block elsewhere is no answer: the next place is asked', async () => {
    const bad = new FaultyStore()
    const good = new FaultyStore()
    const { blocks, found } = routedOver({ bad, good })
    const cid = await putRaw(good, bytesOf('whole'))
    await putRaw(bad, bytesOf('whole'))
    bad.damaged.add(cid.toString())
    expect(Buffer.from(await blocks.get(cid, { signal })).toString()).toBe('whole')
    expect(found.map(({ from }) => from)).toEqual(['good'])
  })

  test('what nobody has is what the primary store says of it', async () => {
    const elsewhere = await putRaw(new FaultyStore(), bytesOf('nowhere'))
    const { blocks } = routedOver({ other: new FaultyStore() })
    await expect(blocks.get(elsewhere, { signal })).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
    await expect(blocks.getBatch(wants(elsewhere), { signal })).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
    await expect(blocks.has(elsewhere, { signal })).resolves.toBe(false)
    await expect(blocks.size(elsewhere, { signal })).rejects.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
  })

  test('a place that cannot be reached is passed over', async () => {
    const away = new FaultyStore()
    const there = new FaultyStore()
    away.failure = unreachable
    const { blocks } = routedOver({ away, there }, ['away'])
    const cid = await putRaw(there, bytesOf('there'))
    expect(Buffer.from(await blocks.get(cid, { signal })).toString()).toBe('there')
    await expect(blocks.has(cid, { signal })).resolves.toBe(true)
  })

  test('an outage of the primary store is an outage, and is not hidden by another place', async () => {
    const other = new FaultyStore()
    const { blocks, primary } = routedOver({ other })
    const cid = await putRaw(other, bytesOf('there'))
    primary.failure = unreachable
    await expect(blocks.get(cid, { signal })).rejects.toBe(unreachable)
    await expect(blocks.getBatch(wants(cid), { signal })).rejects.toBe(unreachable)
  })

  test('an abort ends it, whoever is being asked', async () => {
    const controller = new AbortController()
    const other = new FaultyStore()
    const { blocks } = routedOver({ other })
    const cid = await putRaw(other, bytesOf('there'))
    controller.abort(new Error('gone'))
    await expect(blocks.get(cid, { signal: controller.signal })).rejects.toThrow('gone')
  })

  test('writes go to the primary store alone', async () => {
    const other = new FaultyStore()
    const { blocks, primary } = routedOver({ other })
    const cid = await putRaw(blocks as unknown as CountingStore, bytesOf('new'))
    expect([primary.count, other.count]).toEqual([1, 0])
    await blocks.delete(cid, { signal })
    expect(primary.count).toBe(0)
  })
})
