import { CarReader } from '@ipld/car'
import * as dagCbor from '@ipld/dag-cbor'
import { UnixFS } from 'ipfs-unixfs'
import { exporter } from 'ipfs-unixfs-exporter'
import type { CID } from 'multiformats/cid'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { hashBlock, verifyBlock } from '../../src/blocks/block.ts'
import { openPath } from '../../src/dag/open.ts'
import { CountingStore, importDag, limits, pattern, putBytes, putNode, putRaw, signal } from '../support/dags.ts'
import { type Answer, openGateway } from '../support/gateway.ts'

const carType = 'application/vnd.ipld.car'
const longName = (n: number) => `${'a-long-name,-so-that-this-directory-is-a-HAMT-'.repeat(20)}${n}`

interface Dags {
  readonly store: CountingStore
  /** Directories and two files, one of them of many chunks. */
  readonly tree: CID
  /** 400 entries in shards: some of the root's slots are empty. */
  readonly many: CID
  readonly raw: CID
  readonly symlink: CID
  readonly cbor: CID
  /** dag-pb with a named link and no data. */
  readonly bare: CID
}

let dags: Dags
beforeAll(async () => {
  const store = new CountingStore()
  const tree = await importDag(
    store,
    [
      { path: 'd/a.txt', content: Buffer.from('hello') },
      { path: 'd/sub/big.bin', content: pattern(1000) },
    ],
    { chunkBytes: 100 },
  )
  const entries = Array.from({ length: 400 }, (_, n) => ({ path: `m/${longName(n)}`, content: pattern(10, n % 200) }))
  const many = await importDag(store, entries)
  const raw = await putRaw(store, Buffer.from('raw'))
  const symlink = await putNode(store, new UnixFS({ type: 'symlink', data: Buffer.from('a') }).marshal(), [])
  const cbor = await putBytes(store, dagCbor.encode({ map: { link: raw, text: 'x' }, list: [raw] }), 0x71)
  const bare = await putNode(store, undefined, [{ cid: tree, name: 'first' }])
  dags = { store, tree, many, raw, symlink, cbor, bare }
})

async function opened() {
  const gateway = await openGateway(onTestFinished, {}, dags.store)
  const proof = async (path: string, search = '', headers = {}) => {
    const answer = await gateway.ask(`/ipfs/${path}?format=car${search}`, { headers })
    expect([path, answer.status]).toEqual([path, 200])
    return { ...answer, ...(await blocksOf(answer)) }
  }
  return { ...gateway, proof }
}

/** A store of what the CAR holds and of nothing else, each block hashed again. */
async function blocksOf({ bytes }: Answer): Promise<{ cids: string[]; held: CountingStore }> {
  const held = new CountingStore()
  const cids: string[] = []
  for await (const block of (await CarReader.fromBytes(bytes)).blocks()) {
    await held.put(verifyBlock(block.cid as CID, block.bytes), { signal })
    cids.push(`${block.cid}`)
  }
  return { cids, held }
}

describe('a CAR of a path whose end is absent holds the blocks that prove it', () => {
  const paths: readonly (readonly [string, (dags: Dags) => readonly [CID, ...string[]], number])[] = [
    ['in a directory', ({ tree }) => [tree, 'index.html'], 1],
    ['in a directory further down', ({ tree }) => [tree, 'sub', 'index.html'], 2],
    ['two names below the last one that is there', ({ tree }) => [tree, 'nowhere', 'at', 'all'], 1],
    ['below a file', ({ tree }) => [tree, 'a.txt', 'x'], 2],
    ['below a file of many chunks', ({ tree }) => [tree, 'sub', 'big.bin', 'x'], 3],
    ['below a raw block', ({ raw }) => [raw, 'x'], 1],
    ['below a symlink', ({ symlink }) => [symlink, 'x'], 1],
    ['a key of dag-cbor', ({ cbor }) => [cbor, 'map', 'nowhere'], 1],
    ['an index of dag-cbor', ({ cbor }) => [cbor, 'list', '7'], 1],
    ['below what dag-cbor links to', ({ cbor }) => [cbor, 'map', 'link', 'x'], 2],
    ['in dag-pb without UnixFS', ({ bare }) => [bare, 'second'], 1],
    ['in a directory below that', ({ bare }) => [bare, 'first', 'index.html'], 2],
  ]

  test.each(paths)('%s', async (_, of, blocks) => {
    const { proof, logged } = await opened()
    const [root, ...segments] = of(dags)
    const { cids, held, headers } = await proof([root, ...segments].join('/'))
    expect([cids.length, cids[0]]).toEqual([blocks, `${root}`])
    // Whoever has no more than the CAR comes to the same end.
    await expect(openPath({ root, segments }, held, { signal, limits })).rejects.toMatchObject({
      code: 'PATH_NOT_FOUND',
    })
    expect(String(headers['x-ipfs-roots']).split(',').length).toBeLessThanOrEqual(segments.length)
    expect(logged).toEqual([])
  })

  test('a directory of shards: the shards down to the one without the name, as an exporter of others finds it', async () => {
    const { proof } = await opened()
    const { many } = dags
    const depths = new Set<number>()
    for (let n = 400; n < 430; n++) {
      const { cids, held, headers } = await proof(`${many}/${encodeURIComponent(longName(n))}`)
      depths.add(cids.length)
      expect(headers['x-ipfs-roots']).toBe(`${many}`)
      const blockstore = { get: (cid: CID) => held.get(cid, { signal }) }
      await expect(exporter(`${many}/${longName(n)}`, blockstore)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' })
      // One block less proves nothing.
      await held.delete(parse(cids.at(-1)), { signal })
      await expect(openPath({ root: many, segments: [longName(n)] }, held, { signal, limits })).rejects.toMatchObject({
        code: 'BLOCK_NOT_FOUND',
      })
    }
    // Both kinds: an empty slot of the root's shards, and one below them.
    expect(depths.size).toBeGreaterThan(1)
  })

  const parse = (cid: string | undefined): CID => {
    const found = [...dags.store.asked].find((each) => `${each}` === cid)
    if (found === undefined) throw new Error(`${cid} was never asked for`)
    return found
  }
})

test('its bytes are the same whatever is asked of what is not there, by URL, by Accept and by HEAD', async () => {
  const { ask, proof } = await opened()
  const path = `${dags.tree}/sub/index.html`
  const whole = await proof(path)
  for (const search of ['', '&dag-scope=block', '&dag-scope=entity', '&entity-bytes=5000:*', '&car-order=unk']) {
    const part = await proof(path, search)
    expect([part.bytes.equals(whole.bytes), part.headers.etag]).toEqual([true, whole.headers.etag])
    const byAccept = await ask(`/ipfs/${path}?${search.slice(1)}`, { headers: { accept: carType } })
    expect([byAccept.status, byAccept.bytes.equals(whole.bytes)]).toEqual([200, true])
  }
  const dups = await proof(path, '&car-dups=y')
  expect(dups.bytes.equals(whole.bytes)).toBe(true)
  expect(dups.headers['content-type']).toBe(`${carType}; version=1; order=dfs; dups=y`)
  dags.store.forget()
  const head = await ask(`/ipfs/${path}?format=car`, { method: 'HEAD' })
  const { date: _, 'transfer-encoding': __, ...headers } = whole.headers
  expect([head.status, head.bytes.byteLength]).toEqual([200, 0])
  expect(head.headers).toMatchObject(headers)
  expect(dags.store.asked).toHaveLength(2)
})

test('its headers are those of a CAR, and its tag stands for no other one', async () => {
  const { ask, proof } = await opened()
  const { tree } = dags
  const { headers } = await proof(`${tree}/sub/index.html`)
  expect(headers).toMatchObject({
    'content-type': `${carType}; version=1; order=dfs; dups=n`,
    'cache-control': 'public, max-age=29030400, immutable',
    'content-disposition': `attachment; filename="${tree}_index.html.car"; filename*=UTF-8''${tree}_index.html.car`,
    'x-ipfs-path': `/ipfs/${tree}/sub/index.html`,
    'accept-ranges': 'none',
    'x-content-type-options': 'nosniff',
  })
  const again = (etag: string | undefined, search: string) =>
    ask(`/ipfs/${tree}/${search}`, { headers: { 'if-none-match': etag } })
  expect((await again(headers.etag, 'sub/index.html?format=car')).status).toBe(304)
  for (const there of [
    'sub?format=car',
    'sub?format=car&dag-scope=block',
    'sub?format=car&dag-scope=entity',
    'index.html?format=car',
  ]) {
    expect([there, (await again(headers.etag, there)).status]).toEqual([there, 200])
  }
})

test('a CAR of a path that ends at a value holds the block that the value is in', async () => {
  const { proof } = await opened()
  const { cbor, raw } = dags
  expect((await proof(`${cbor}/map/text`, '&dag-scope=block')).cids).toEqual([`${cbor}`])
  expect((await proof(`${cbor}/map`, '&dag-scope=entity')).cids).toEqual([`${cbor}`])
  expect((await proof(`${cbor}/map`)).cids).toEqual([`${cbor}`, `${raw}`])
})

test('what proves nothing is no 200: a root or a block on the way that is not here, a block without paths, a damaged one', async () => {
  const { ask } = await opened()
  const absent = hashBlock(Buffer.from('not here'), 0x70).cid
  const lost = await putNode(dags.store, new UnixFS({ type: 'directory' }).marshal(), [{ cid: absent, name: 'a' }])
  const unknown = await putBytes(dags.store, Buffer.from('x'), 0x78)
  const damaged = await putNode(dags.store, Uint8Array.of(0x08, 5), [])
  for (const [status, path] of [
    [404, `${absent}/index.html`],
    [404, `${lost}/a/index.html`],
    [406, `${unknown}/x`],
    [422, `${damaged}/x`],
    [400, `${dags.tree}/../x`],
  ] as const) {
    for (const method of ['GET', 'HEAD']) {
      const answer = await ask(`/ipfs/${path}?format=car`, { method })
      expect([path, method, answer.status]).toEqual([path, method, status])
      expect(answer.headers['cache-control']).toBe('no-store')
    }
  }
})

test('every other format of an absent path is 404 as before, and so is the page', async () => {
  const { ask } = await opened()
  for (const search of ['', '?format=raw', '?format=tar', '?format=json', '?format=dag-cbor']) {
    expect([search, (await ask(`/ipfs/${dags.tree}/nowhere${search}`)).status]).toEqual([search, 404])
  }
})

test('at an origin of its own a CAR proves the same, and _redirects have no say in it', async () => {
  const store = new CountingStore()
  const root = await importDag(store, [
    { path: 's/_redirects', content: Buffer.from('/* /a.txt 200') },
    { path: 's/a.txt', content: Buffer.from('a') },
  ])
  const { ask } = await openGateway(onTestFinished, {}, store)
  const headers = { host: `${root}.ipfs.localhost:8080` }
  expect((await ask('/nowhere', { headers })).text).toBe('a')
  const car = await ask('/nowhere?format=car', { headers })
  expect([car.status, (await blocksOf(car)).cids]).toEqual([200, [`${root}`]])
})
