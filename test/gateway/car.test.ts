import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { promisify } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { CarReader } from '@ipld/car'
import * as Block from 'multiformats/block'
import type { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { sha256 } from 'multiformats/hashes/sha2'
import { describe, expect, onTestFinished, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { importCar } from '../../src/dag/car-import.ts'
import { openPath } from '../../src/dag/open.ts'
import { MiB } from '../../src/lib/units.ts'
import { carLimits, cborNode, inChunks } from '../support/cars.ts'
import { CountingStore, importDag, limits, pattern, putFile, putRaw, settled, signal } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'

const carType = 'application/vnd.ipld.car'

/** Blocks of a served CAR, by a reader that is not ours, each hashed again. */
async function read(car: Uint8Array): Promise<{ roots: string[]; cids: string[] }> {
  const reader = await CarReader.fromBytes(car)
  const cids: string[] = []
  for await (const { cid, bytes } of reader.blocks()) {
    await Block.create({ bytes, cid, codec: { ...raw, code: cid.code }, hasher: sha256 })
    cids.push(`${cid}`)
  }
  return { roots: (await reader.getRoots()).map(String), cids }
}

/** a.txt and b.txt (the same content), big.bin of ten chunks. */
async function opened() {
  const gateway = await openGateway(onTestFinished)
  const big = pattern(1000)
  const entries = [
    { path: 'd/a.txt', content: Buffer.from('hello') },
    { path: 'd/b.txt', content: Buffer.from('hello') },
    { path: 'd/sub/big.bin', content: big },
  ]
  const root = await importDag(gateway.store, entries, { chunkBytes: 100 })
  const served = async (path: string, accept?: string) => {
    const answer = await gateway.ask(`/ipfs/${root}${path}`, accept === undefined ? {} : { headers: { accept } })
    expect([answer.status, answer.text.slice(0, 200)]).toEqual([200, expect.anything()])
    return { ...answer, ...(await read(answer.bytes)) }
  }
  const target = (...segments: string[]) => openPath({ root, segments }, gateway.store, { signal, limits })
  return { ...gateway, root, served, target }
}

describe('what a served CAR holds', () => {
  test('its root is that of the path, and its blocks are the path and then what was asked for', async () => {
    const { served, root, target } = await opened()
    const sub = (await target('sub')).cid
    const big = (await target('sub', 'big.bin')).cid
    const hello = (await target('a.txt')).cid
    const path = [root, sub, big].map(String)
    const whole = await served('/sub/big.bin?format=car')
    expect([whole.roots, whole.cids.slice(0, 3), whole.cids.length]).toEqual([[`${root}`], path, 13])
    expect((await served('/sub/big.bin?format=car&dag-scope=block')).cids).toEqual(path)
    expect((await served('/sub/big.bin?format=car&dag-scope=entity')).cids).toEqual(whole.cids)
    expect((await served('?format=car&dag-scope=entity')).cids).toEqual([`${root}`])
    expect((await served('?format=car')).cids).toEqual([`${root}`, `${hello}`, `${sub}`, ...whole.cids.slice(2)])
    expect((await served('?format=car&car-dups=y')).cids.filter((cid) => cid === `${hello}`)).toHaveLength(2)
    const chunks = whole.cids.slice(3)
    const bytes = async (range: string) => (await served(`/sub/big.bin?format=car&entity-bytes=${range}`)).cids.slice(3)
    expect(await bytes('0:0')).toEqual(chunks.slice(0, 1))
    expect(await bytes('250:*')).toEqual(chunks.slice(2))
    expect(await bytes('199:-501')).toEqual(chunks.slice(1, 5))
    expect(await bytes('-1:*')).toEqual(chunks.slice(9))
    expect(await bytes('-5000:5000')).toEqual(chunks)
    expect(await bytes('-10:5')).toEqual([])
  })

  test('Accept asks for the same, byte for byte', async () => {
    const { served } = await opened()
    for (const search of ['', 'dag-scope=entity', 'dag-scope=block', 'entity-bytes=5:300']) {
      const byUrl = await served(`/sub/big.bin?format=car&${search}`)
      const byAccept = await served(`/sub/big.bin?${search}`, carType)
      expect(byAccept.bytes.equals(byUrl.bytes)).toBe(true)
      expect(byAccept.headers.etag).toBe(byUrl.headers.etag)
    }
  })

  test('is what Content-Location promises, and no other URL needs one', async () => {
    const { served, ask, root } = await opened()
    const accept = `${carType};dups=y`
    const negotiated = await served('/sub?dag-scope=entity', accept)
    const location = negotiated.headers['content-location']
    expect(location).toBe(`/ipfs/${root}/sub?format=car&dag-scope=entity&car-version=1&car-order=dfs&car-dups=y`)
    const there = await ask(location ?? '')
    expect([there.bytes.equals(negotiated.bytes), there.headers.etag]).toEqual([true, negotiated.headers.etag])
    expect(there.headers['content-location']).toBeUndefined()
    expect((await served('?format=car', accept)).headers['content-location']).toContain('car-dups=y')
  })
})

test('the headers say what is really sent', async () => {
  const { served, root } = await opened()
  const { headers } = await served('/sub/big.bin?format=car&car-order=unk&car-dups=y')
  expect(headers).toMatchObject({
    'content-type': `${carType}; version=1; order=dfs; dups=y`,
    'accept-ranges': 'none',
    'x-content-type-options': 'nosniff',
    'cache-control': 'public, max-age=29030400, immutable',
    'content-disposition': `attachment; filename="${root}_big.bin.car"; filename*=UTF-8''${root}_big.bin.car`,
  })
  expect(headers['x-ipfs-roots']?.toString().split(',')).toHaveLength(3)
  expect(headers['content-length']).toBeUndefined()
  expect((await served('?format=car')).headers['content-type']).toBe(`${carType}; version=1; order=dfs; dups=n`)
})

test('tags differ where bytes do, each is honoured, and none stands for another CAR', async () => {
  const { served, ask, root } = await opened()
  const searches = [
    '',
    '&dag-scope=block',
    '&dag-scope=entity',
    '&car-dups=y',
    '&entity-bytes=0:5',
    '&entity-bytes=0:500',
  ]
  const tags: unknown[] = []
  for (const search of searches) {
    const path = `/sub/big.bin?format=car${search}`
    const { etag } = (await served(path)).headers
    tags.push(etag)
    const again = await ask(`/ipfs/${root}${path}`, { headers: { 'if-none-match': etag } })
    expect([again.status, again.bytes.byteLength]).toEqual([304, 0])
  }
  expect(new Set(tags).size).toBe(searches.length)
  const other = await ask(`/ipfs/${root}/sub/big.bin?format=car`, { headers: { 'if-none-match': `${tags[1]}` } })
  expect(other.status).toBe(200)
})

test('HEAD gives the headers of GET and reads no block beyond the path', async () => {
  const { ask, store, root, target } = await opened()
  const path = (await target('sub', 'big.bin')).trail.map(({ cid }) => `${cid}`)
  for (const search of ['', '&dag-scope=entity', '&car-dups=y', '&entity-bytes=0:500']) {
    const url = `/ipfs/${root}/sub/big.bin?format=car${search}`
    const got = await ask(url)
    store.forget()
    const head = await ask(url, { method: 'HEAD' })
    expect([head.status, head.bytes.byteLength]).toEqual([200, 0])
    expect(store.asked.map(String)).toEqual(path)
    const { date: _, 'transfer-encoding': __, ...headers } = got.headers
    expect(head.headers).toMatchObject(headers)
  }
})

test('a range outside of the file is refused before a block is read, and one of a directory is ignored', async () => {
  const { ask, store, root } = await opened()
  store.forget()
  const { status, text } = await ask(`/ipfs/${root}/sub/big.bin?format=car&entity-bytes=1000:*`)
  expect([status, text]).toEqual([400, expect.stringContaining('1000 bytes')])
  expect(store.asked).toHaveLength(3)
  expect((await ask(`/ipfs/${root}?format=car&entity-bytes=1000:*`)).status).toBe(200)
})

const formats = [
  '',
  'format=raw',
  'format=car',
  'format=tar',
  'format=dag-json',
  'format=dag-cbor',
  'format=json',
  'format=cbor',
]

test.each(formats)(
  'a root that is not here is 404, by GET and by HEAD, with or without a path: "%s"',
  async (format) => {
    const { ask, root, logged } = await opened()
    const absent = hashBlock(Buffer.from('absent'), 0x70).cid
    for (const method of ['GET', 'HEAD']) {
      for (const path of ['', '/a.txt', '/a/b']) {
        const answer = await ask(`/ipfs/${absent}${path}?${format}`, { method })
        expect([method, path, answer.status]).toEqual([method, path, 404])
        expect(answer.headers['cache-control']).toBe('no-store')
      }
      const nowhere = await ask(`/ipfs/${root}/nowhere?${format}`, { method })
      expect(nowhere.status).toBe(format === 'format=car' ? 200 : 404)
    }
    expect(logged).toEqual([])
  },
)

test('the probe bafkqaaa is an empty CAR and an empty block, by GET and by HEAD', async () => {
  const { ask } = await openGateway(onTestFinished)
  for (const search of ['', '&car-dups=y', '&dag-scope=block', '&dag-scope=entity', '&entity-bytes=0:*']) {
    const car = await ask(`/ipfs/bafkqaaa?format=car${search}`)
    expect([car.status, await read(car.bytes)]).toEqual([200, { roots: ['bafkqaaa'], cids: [] }])
    expect((await ask(`/ipfs/bafkqaaa?format=car${search}`, { method: 'HEAD' })).status).toBe(200)
  }
  for (const method of ['GET', 'HEAD']) {
    const block = await ask('/ipfs/bafkqaaa?format=raw', { method })
    expect([block.status, block.bytes.byteLength, block.headers['content-length']]).toEqual([200, 0, '0'])
  }
})

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** In bytes, without what is only waiting to be collected. */
function memoryHeld(): number {
  collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const run = promisify(execFile)
const curlFound = spawnSync('curl', ['--version']).status === 0
if (!curlFound) console.log('skipped: no `curl` on PATH to see replies that are cut')

// nginx asks by HTTP/1.0 unless it is told otherwise, and there a reply without a length ends where the connection does.
test.skipIf(!curlFound).each(['--http1.1', '--http1.0'])(
  'a CAR that fails halfway cannot be taken for a whole one: curl %s',
  async (version) => {
    const { port, store } = await openGateway(onTestFinished)
    const chunks = await Promise.all(
      Array.from({ length: 40 }, async (_, n) => ({
        cid: await putRaw(store, pattern(100_000, n + 1)),
        size: 100_000n,
      })),
    )
    const { cid } = await putFile(store, chunks)
    const url = `http://127.0.0.1:${port}/ipfs/${cid}?format=car`
    const curl = () => run('curl', ['-sS', version, url], { encoding: 'buffer', maxBuffer: 64 * MiB })
    expect((await read((await curl()).stdout)).cids).toHaveLength(41)
    await store.delete((chunks[30] as { cid: CID }).cid, { signal })
    const cut = await curl().then(
      () => undefined,
      (error: { readonly code: number; readonly stdout: Buffer }) => error,
    )
    // 18: less than the chunks of HTTP promised; 56: the connection was reset.
    expect([18, 56]).toContain(cut?.code)
    expect(cut?.stdout.byteLength).toBeLessThan(31 * 100_000)
  },
)

test('a whole CAR is taken in again as whole; one cut between two blocks is refused, unless it is said to be partial', async () => {
  const { ask, root } = await opened()
  const { bytes } = await ask(`/ipfs/${root}?format=car`)
  const into = (car: Uint8Array, partial = false) =>
    importCar(inChunks(car, 1000), new CountingStore(), { signal, limits: carLimits, partial })
  expect((await into(bytes)).roots.map(String)).toEqual([`${root}`])
  const last = pattern(1000).subarray(900)
  const cut = bytes.subarray(0, bytes.indexOf(last) - 38)
  await expect(into(cut)).rejects.toMatchObject({ code: 'CAR_INVALID' })
  expect((await into(cut, true)).blocks).toBeGreaterThan(5)
})

describe('a small DAG that stands for an enormous one, asked for with all repeats', () => {
  const fileOf = async (store: CountingStore, levels: number, width: number) => {
    let child = { cid: await putRaw(store, Buffer.from('01234567')), size: 8n }
    for (let level = 0; level < levels; level++) child = await putFile(store, Array(width).fill(child))
    return child.cid
  }
  const cborOf = async (store: CountingStore, levels: number, width: number) => {
    let child = hashBlock(Buffer.from('leaf'), 0x55)
    await store.put(child, { signal })
    for (let level = 0; level < levels; level++) {
      child = cborNode(Array(width).fill(child.cid))
      await store.put(child, { signal })
    }
    return child.cid
  }

  test.each([
    ['40 levels of 2 links', (store: CountingStore) => fileOf(store, 40, 2), '&dag-scope=all'],
    ['40 levels of 2 links, as an entity', (store: CountingStore) => fileOf(store, 40, 2), '&dag-scope=entity'],
    ['40 levels of 2 links, a range of it', (store: CountingStore) => fileOf(store, 40, 2), '&entity-bytes=9:-9'],
    ['40 levels of 2 links of dag-cbor', (store: CountingStore) => cborOf(store, 40, 2), ''],
    // 8 levels of 8,000 hold more bytes than 2^64: no file, but nodes all the same.
    ['8 levels of 8,000 links', (store: CountingStore) => fileOf(store, 4, 8000), ''],
    ['8 levels of 8,000 links of dag-cbor', (store: CountingStore) => cborOf(store, 8, 8000), ''],
  ])('%s: begins at once, in bounded memory, and ends with its reader', async (_, build, search) => {
    const { port, store, ask } = await openGateway(onTestFinished)
    const cid = await build(store)
    store.forget()
    // Without repeats it is as small as it is.
    const small = await ask(`/ipfs/${cid}?format=car${search}`)
    expect([small.status, (await read(small.bytes)).cids.length <= store.count]).toEqual([200, true])
    store.forget()
    const before = memoryHeld()
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(`GET /ipfs/${cid}?format=car&car-dups=y${search} HTTP/1.1\r\nHost: x\r\n\r\n`)
    let taken = 0
    for (let first = true; taken < 2 * MiB; first = false) {
      taken += ((await once(socket, 'data')) as [Buffer])[0].byteLength
      if (first) expect(store.asked.length).toBeLessThan(20_000)
    }
    expect((memoryHeld() - before) / MiB).toBeLessThan(64)
    socket.destroy()
    await expect
      .poll(async () => {
        const asked = store.asked.length
        await settled()
        return store.asked.length - asked
      })
      .toBe(0)
  })

  test('a range of it without repeats holds each block once, and is found without walking the rest', async () => {
    const { store, ask } = await openGateway(onTestFinished)
    const cid = await fileOf(store, 40, 2)
    store.forget()
    const { bytes } = await ask(`/ipfs/${cid}?format=car&entity-bytes=9:-9`)
    expect((await read(bytes)).cids).toHaveLength(41)
    expect(store.asked.length).toBeLessThan(41 * 4)
  })

  test('is cut where it exceeds the bound of what is expanded', async () => {
    const { store, ask, logged } = await openGateway(onTestFinished, { dagExpandedBytesMax: MiB })
    const cid = await fileOf(store, 40, 2)
    await expect(ask(`/ipfs/${cid}?format=car&car-dups=y`)).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(logged).toMatchObject([{ cut: true, err: { code: 'LIMIT_EXCEEDED' } }])
    expect((await ask(`/ipfs/${cid}?format=car`)).status).toBe(200)
  })

  test('a chain of 50,000 nodes ends at the bound of depth, with repeats and without', async () => {
    const { store, ask, logged } = await openGateway(onTestFinished)
    const cid = await cborOf(store, 50_000, 1)
    for (const dups of ['y', 'n']) {
      store.forget()
      await expect(ask(`/ipfs/${cid}?format=car&car-dups=${dups}`)).rejects.toMatchObject({ code: 'ECONNRESET' })
      expect(store.asked.length).toBeLessThan(1100)
    }
    expect(logged).toMatchObject([{ err: { code: 'LIMIT_EXCEEDED' } }, { err: { code: 'LIMIT_EXCEEDED' } }])
  })
})
