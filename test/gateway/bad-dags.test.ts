import { once } from 'node:events'
import { connect } from 'node:net'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { expect, onTestFinished, test } from 'vitest'
import { MiB } from '../../src/lib/units.ts'
import { type CountingStore, putBytes, putFile, putNode, putRaw, settled, signal, varint } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'

type Build = (store: CountingStore) => Promise<CID>
interface Statuses {
  readonly page: number
  readonly raw: number
  /** cut: the failure comes after the first bytes, as a connection that ends early. */
  readonly car: number | 'cut'
}

const text = (value: string) => Buffer.from(value)
const field = (tag: number, bytes: Uint8Array) => Buffer.concat([Buffer.of(tag, bytes.byteLength), bytes])
const file = (...fields: readonly number[]) => Uint8Array.of(0x08, 0x02, ...fields)
const directory = Uint8Array.of(0x08, 0x01)

function shard(fanout: bigint, bitfield: Uint8Array, hashType = 0x22n): Uint8Array {
  return new UnixFS({ type: 'hamt-sharded-directory', fanout, hashType, data: bitfield }).marshal()
}

const bytes =
  (block: Uint8Array): Build =>
  (store) =>
    putBytes(store, block, dagPb.code)
/** A node with this Data and a link of each name to one leaf. */
const node =
  (data: Uint8Array, ...names: readonly string[]): Build =>
  async (store) => {
    const cid = await putRaw(store, text('abc'))
    return putNode(
      store,
      data,
      names.map((name) => ({ cid, name })),
    )
  }
/** dag-pb as it stands: what the encoder would put in order or refuse. */
const linked =
  (names: readonly Uint8Array[], tsize: bigint): Build =>
  async (store) => {
    const cid = await putRaw(store, text('abc'))
    const links = names.map((name) =>
      field(0x12, Buffer.concat([field(0x0a, cid.bytes), field(0x12, name), Buffer.of(0x18, ...varint(tsize))])),
    )
    return putBytes(store, Buffer.concat([...links, field(0x0a, directory)]), dagPb.code)
  }
const chain =
  (length: number, content: string): Build =>
  async (store) => {
    let child = { cid: await putRaw(store, text(content)), size: BigInt(content.length) }
    for (let level = 0; level < length; level++) child = await putFile(store, [child])
    return child.cid
  }

const damagedPb: Statuses = { page: 422, raw: 200, car: 422 }
/** The links are good, so a CAR can follow them. */
const damagedUnixfs: Statuses = { page: 422, raw: 200, car: 200 }
const good: Statuses = { page: 200, raw: 200, car: 200 }

// DAGs that are not what they say, as a client sees them; broken directories also in directory.test.ts.
test.each<[string, Build, Statuses]>([
  ['85: a block that is no dag-pb', bytes(Buffer.alloc(20, 0xff)), damagedPb],
  ['85: a link without Hash', bytes(field(0x12, field(0x12, text('a')))), damagedPb],
  ['86: names that repeat and are not sorted', linked([text('b'), text('a'), text('b')], 2n ** 64n - 1n), good],
  ['87: a name that is no UTF-8', linked([Buffer.of(0x61, 0xff)], 1n), good],
  ['88: Data twice', bytes(Buffer.concat([field(0x0a, directory), field(0x0a, directory)])), damagedPb],
  ['88: an unknown field', bytes(Buffer.concat([field(0x0a, directory), Buffer.of(0x18, 1)])), damagedPb],
  ['89: type 99', node(Uint8Array.of(0x08, 99)), damagedUnixfs],
  ['89: empty Data', node(new Uint8Array()), damagedUnixfs],
  ['89: a filesize of 2^63 without content', node(file(0x18, ...varint(2n ** 63n))), damagedUnixfs],
  ['89: fewer block sizes than links', node(file(0x18, 3, 0x20, 3), '', ''), damagedUnixfs],
  ['89: block sizes that do not add up', node(file(0x18, 9, 0x20, 3), ''), damagedUnixfs],
  ['90: a chunk with a name', node(file(0x18, 3, 0x20, 3), 'x'), damagedUnixfs],
  ...[0n, 1n, 3n, 255n, 2n ** 20n, 2n ** 63n].map((fanout): [string, Build, Statuses] => [
    `91: a HAMT of fanout ${fanout}`,
    node(shard(fanout, Uint8Array.of(1)), '00a'),
    damagedUnixfs,
  ]),
  ['92: a bitfield longer than its slots', node(shard(8n, Uint8Array.of(0, 1)), '0a'), damagedUnixfs],
  ['92: another hash than murmur3', node(shard(256n, Uint8Array.of(1), 0x12n), '00a'), damagedUnixfs],
  ['96: a chain of 2,000 nodes', chain(2000, 'x'), { page: 413, raw: 200, car: 'cut' }],
  ['98: names that are dots, empty, or hold / and NUL', linked(['..', '.', '', 'a/b', 'a\0b'].map(text), 1n), good],
])('%s', async (_, build, { page, raw, car }) => {
  const { ask, store, logged } = await openGateway(onTestFinished)
  const cid = await build(store)
  expect((await ask(`/ipfs/${cid}/`)).status).toBe(page)
  const block = await ask(`/ipfs/${cid}?format=raw`)
  expect([block.status, block.bytes]).toEqual([raw, Buffer.from(await store.get(cid, { signal }))])
  const asCar = ask(`/ipfs/${cid}?format=car`)
  if (car === 'cut') await expect(asCar).rejects.toMatchObject({ code: 'ECONNRESET' })
  else expect((await asCar).status).toBe(car)
  expect(logged).toHaveLength(car === 'cut' ? 1 : 0)
})

test('87: what is shown of a name that is no UTF-8 leads nowhere', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const cid = await linked([Buffer.of(0x61, 0xff)], 1n)(store)
  expect((await ask(`/ipfs/${cid}/a%EF%BF%BD`)).status).toBe(404)
  expect((await ask(`/ipfs/${cid}/a%ff`)).status).toBe(400)
})

test('89: content that is not what its root claims is an error before the headers, or a cut connection', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const leaf = await putRaw(store, text('abc'))
  const { cid } = await putFile(store, [{ cid: leaf, size: 4n }])
  expect((await ask(`/ipfs/${cid}?filename=a.bin`)).status).toBe(422)
  const first = { cid: await putRaw(store, Buffer.alloc(MiB)), size: BigInt(MiB) }
  const later = await putFile(store, [first, first, first, { cid: leaf, size: 4n }])
  await expect(ask(`/ipfs/${later.cid}?filename=a.bin`)).rejects.toMatchObject({ code: 'ECONNRESET' })
})

test('93: a HAMT of 2^48 entries is listed in pages of bounded size', async () => {
  const { ask, store } = await openGateway(onTestFinished, { listingEntriesMax: 1000 })
  const all = Array.from({ length: 256 }, (_, slot) => slot)
  const label = (slot: number) => slot.toString(16).toUpperCase().padStart(2, '0')
  const data = shard(256n, new Uint8Array(32).fill(0xff))
  const leaf = await putRaw(store, text('x'))
  let cid = await putNode(
    store,
    data,
    all.map((slot) => ({ cid: leaf, name: `${label(slot)}a` })),
  )
  for (let level = 0; level < 5; level++) {
    const child = cid
    cid = await putNode(
      store,
      data,
      all.map((slot) => ({ cid: child, name: label(slot) })),
    )
  }
  store.forget()
  const page = await ask(`/ipfs/${cid}/`)
  expect([page.status, page.bytes.byteLength < MiB, store.asked.length < 100]).toEqual([200, true, true])
  expect((await ask(`/ipfs/${cid}?format=car`)).status).toBe(200)
})

test.each([
  ['94: 50 levels of 2 links', 50, 2],
  ['95: 4 levels of 8,000 links', 4, 8000],
])('%s stream at once, are whole in a CAR of few blocks, and stop with their reader', async (_, levels, width) => {
  const { ask, port, store } = await openGateway(onTestFinished)
  let child = { cid: await putRaw(store, text('01234567')), size: 8n }
  for (let level = 0; level < levels; level++) child = await putFile(store, Array(width).fill(child))
  const head = await ask(`/ipfs/${child.cid}?filename=a.bin`, { method: 'HEAD' })
  expect([head.status, head.headers['content-length']]).toEqual([200, String(8n * BigInt(width) ** BigInt(levels))])
  expect((await ask(`/ipfs/${child.cid}?format=car`)).status).toBe(200)
  const before = process.memoryUsage().rss
  const socket = connect(port, '127.0.0.1')
  socket.write(`GET /ipfs/${child.cid}?filename=a.bin HTTP/1.1\r\nHost: x\r\n\r\n`)
  for (let taken = 0; taken < 65_536; ) taken += ((await once(socket, 'data')) as [Buffer])[0].byteLength
  expect(process.memoryUsage().rss - before).toBeLessThan(64 * MiB)
  socket.destroy()
  await once(socket, 'close')
  await expect
    .poll(async () => {
      const asked = store.asked.length
      await settled()
      return store.asked.length - asked
    })
    .toBe(0)
})
