import { createHash } from 'node:crypto'
import { blake2b } from '@noble/hashes/blake2.js'
import { blake3 } from '@noble/hashes/blake3.js'
import { base32 } from 'multiformats/bases/base32'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, onTestFinished, test } from 'vitest'
import { hashBlock, verifyBlock } from '../../src/blocks/block.ts'
import { importDag, pattern, putBytes, putFile, putRaw, signal } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'

const hello = Buffer.from('hello world')
const helloCid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
const immutable = 'public, max-age=29030400, immutable'
const sha256 = createHash('sha256').update(hello).digest()
const rawCid = (code: number, digest: Uint8Array) => CID.createV1(0x55, Digest.create(code, digest)).toString()
const html = { accept: 'text/html,*/*;q=0.8' }

const identity128 = rawCid(0, Buffer.alloc(128, 'B'))
const identity129 = rawCid(0, Buffer.alloc(129, 'A'))
const tenBytes = [...Array<number>(9).fill(0xff), 1]

// What a whole request adds to the table of request.ts.
test.each([
  ['1: no CID', '/ipfs/', 400],
  ['2: foo', '/ipfs/foo', 400],
  ['3: Qm and 43 characters', `/ipfs/Qm${'a'.repeat(43)}`, 400],
  ['4: a lower-cased Qm', '/ipfs/qmf412jqziuvutdgnb36fxfx7xg5v6kebsj4dpquhklyfd', 400],
  ['5: b and upper case', `/ipfs/b${helloCid.slice(1).toUpperCase()}`, 200],
  ['6: a wrong last character', `/ipfs/${helloCid.slice(0, -1)}f`, 400],
  ['7: one character longer', `/ipfs/${helloCid}a`, 400],
  ['8: 8 KiB of base32', `/ipfs/ba${'f'.repeat(8100)}`, 400],
  ['9: base58 of 8 KB', `/ipfs/z${'2'.repeat(8000)}`, 400],
  ['9: base58 of 50 KB', `/ipfs/z${'2'.repeat(50_000)}`, 431],
  ['10: base10', '/ipfs/9123456', 400],
  ['10: base16', `/ipfs/f${Buffer.from(CID.parse(helloCid).bytes).toString('hex')}`, 200],
  ['11: version 2', `/ipfs/${base32.encode(Uint8Array.of(2, 0x55, 0x12, 32, ...sha256))}`, 400],
  ['11: version 1, not minimal', `/ipfs/${base32.encode(Uint8Array.of(0x81, 0, 0x55, 0x12, 32, ...sha256))}`, 400],
  ['12: a codec varint of 10 bytes', `/ipfs/${base32.encode(Uint8Array.of(1, ...tenBytes, 0x12, 32, ...sha256))}`, 400],
  ['14: a digest whose length lies', '/ipfs/bafkreaifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e', 400],
  ['15: sha2-256 cut to 4 bytes', `/ipfs/${rawCid(0x12, sha256.subarray(0, 4))}`, 400],
  ['16: md5', `/ipfs/${rawCid(0xd5, createHash('md5').update(hello).digest())}`, 400],
  ['17: sha2-512', `/ipfs/${rawCid(0x13, createHash('sha512').update(hello).digest())}`, 200],
  ['17: blake3', `/ipfs/${rawCid(0x1e, blake3(hello))}`, 200],
  ['17: blake2b-256', `/ipfs/${rawCid(0xb220, blake2b(hello, { dkLen: 32 }))}`, 200],
  ['18: identity of 128 bytes', `/ipfs/${identity128}`, 200],
  ['18: identity of 129 bytes', `/ipfs/${identity129}`, 400],
  ['19: the probe', '/ipfs/bafkqaaa', 200],
  ['19: the probe, raw', '/ipfs/bafkqaaa?format=raw', 200],
  ['19: the probe as CAR', '/ipfs/bafkqaaa?format=car', 200],
  ['13: an unknown codec', `/ipfs/${hashBlock(hello, 0x300001).cid}`, 406],
  ['13: an unknown codec, raw', `/ipfs/${hashBlock(hello, 0x300001).cid}?format=raw`, 200],
  ['20: version 0 inside base32', `/ipfs/${base32.encode(Uint8Array.of(0x12, 32, ...sha256))}`, 400],
  ['21: a libp2p-key', `/ipfs/${hashBlock(hello, 0x72).cid}`, 406],
  ['21: a libp2p-key, raw', `/ipfs/${hashBlock(hello, 0x72).cid}?format=raw`, 200],
  ['22: a dot segment', `/ipfs/${helloCid}/../x`, 400],
  ['24: an encoded slash after dots', `/ipfs/${helloCid}/..%2fx`, 400],
  ['27: a bad escape', `/ipfs/${helloCid}/%zz`, 400],
  ['30: a host in the path', '//evil.example/ipfs/x', 404],
  ['32: a URL of 64 KiB', `/${'a'.repeat(65_536)}`, 431],
  ['33: an absolute-form target', `http://evil.example/ipfs/${helloCid}`, 200],
  ['39: an unknown format', `/ipfs/${helloCid}?format=exe`, 406],
  ['a path below a file', `/ipfs/${helloCid}/x`, 404],
  ['another route', '/api/v1/objects', 404],
  ['a root that is not here', `/ipfs/${hashBlock(Buffer.from('absent'), 0x55).cid}`, 404],
  ['a CAR of a root that is not here', `/ipfs/${hashBlock(Buffer.from('absent'), 0x55).cid}?format=car`, 404],
])('%s', async (_, path, status) => {
  const { ask, store, logged } = await openGateway(onTestFinished)
  await putRaw(store, hello)
  for (const [code, digest] of [
    [0x13, createHash('sha512').update(hello).digest()],
    [0x1e, blake3(hello)],
    [0xb220, blake2b(hello, { dkLen: 32 })],
  ] as const) {
    await store.put(verifyBlock(CID.createV1(0x55, Digest.create(code, digest)), hello), { signal })
  }
  // Node refuses a head that is too long before it knows the method.
  for (const method of status === 431 ? ['GET'] : ['GET', 'HEAD']) {
    const answer = await ask(path, { method })
    expect([method, answer.status]).toEqual([method, status])
    if (method === 'HEAD') expect(answer.bytes.byteLength).toBe(0)
  }
  expect(logged).toEqual([])
})

test('a file is answered with its bytes, its canonical tag and the headers of immutable content', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  await putRaw(store, hello)
  const { status, headers, text } = await ask(`/ipfs/b${helloCid.slice(1).toUpperCase()}`)
  expect([status, text]).toEqual([200, 'hello world'])
  expect(headers).toMatchObject({
    'content-type': 'text/plain; charset=utf-8',
    'content-length': '11',
    etag: `"${helloCid}"`,
    'cache-control': immutable,
    'accept-ranges': 'bytes',
    'x-ipfs-path': `/ipfs/${helloCid}`,
    'x-ipfs-roots': helloCid,
    'ipfs-uri': `ipfs://${helloCid}`,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'access-control-allow-origin': '*',
  })
  expect(headers['content-security-policy']).toBeUndefined()
})

test('HEAD of a large file has the headers of GET and reads the root alone', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const content = pattern(3_000_000)
  const root = await importDag(store, [{ path: 'd/a.bin', content }], { chunkBytes: 262_144 })
  const get = await ask(`/ipfs/${root}/a.bin`)
  expect(get.bytes.equals(content)).toBe(true)
  store.forget()
  const head = await ask(`/ipfs/${root}/a.bin`, { method: 'HEAD' })
  expect({ ...head.headers, date: '' }).toEqual({ ...get.headers, date: '' })
  expect(store.asked.length).toBe(2)
})

test.each([
  ['45: backwards', { range: 'bytes=5-2' }, 200, 'hello world', undefined],
  ['46: beyond the end', { range: 'bytes=999999999999-' }, 416, undefined, 'bytes */11'],
  ['47: the last zero bytes', { range: 'bytes=-0' }, 416, undefined, 'bytes */11'],
  ['48: a long end', { range: 'bytes=6-99999999999999999999999' }, 206, 'world', 'bytes 6-10/11'],
  ['49: 1,000 ranges', { range: `bytes=${'0-,'.repeat(999)}0-` }, 206, 'hello world', 'bytes 0-10/11'],
  ['50: another unit', { range: 'items=0-1' }, 200, 'hello world', undefined],
  ['53: many tags', { 'if-none-match': '"x", '.repeat(2000) }, 200, 'hello world', undefined],
  ['53: 10,000 tags', { 'if-none-match': '"x", '.repeat(10_000) }, 431, undefined, undefined],
  ['54: a weak If-Range', { range: 'bytes=0-1', 'if-range': `W/"${helloCid}"` }, 200, 'hello world', undefined],
  ['a strong If-Range', { range: 'bytes=0-1', 'if-range': `"${helloCid}"` }, 206, 'he', 'bytes 0-1/11'],
  ['a suffix', { range: 'bytes=-5' }, 206, 'world', 'bytes 6-10/11'],
])('%s', async (_, headers, status, text, range) => {
  const { ask, store } = await openGateway(onTestFinished)
  await putRaw(store, hello)
  const answer = await ask(`/ipfs/${helloCid}`, { headers })
  expect([answer.status, answer.headers['content-range']]).toEqual([status, range])
  if (text !== undefined) expect(answer.text).toBe(text)
  if (status < 400) expect(answer.headers['content-length']).toBe(String(text?.length))
})

test('51: a range reads only the blocks that it touches; one over a missing block fails, the others are served', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const content = pattern(3000)
  const parts = [0, 1, 2].map((index) => content.subarray(index * 1000, (index + 1) * 1000))
  const children = await Promise.all(parts.map(async (part) => ({ cid: await putRaw(store, part), size: 1000n })))
  const { cid } = await putFile(store, children)
  const missing = children[0]
  if (missing !== undefined) await store.delete(missing.cid, { signal })
  store.forget()
  const last = await ask(`/ipfs/${cid}?filename=a.bin`, { headers: { range: 'bytes=2100-2199' } })
  expect([last.status, last.bytes.equals(content.subarray(2100, 2200))]).toEqual([206, true])
  expect(store.asked.map(String)).toEqual([cid.toString(), children[2]?.cid.toString()])
  // Without a name the type has to be read from the first block, which is gone: that must not cost the range.
  const unnamed = await ask(`/ipfs/${cid}`, { headers: { range: 'bytes=1000-1000' } })
  expect([unnamed.status, unnamed.headers['content-type']]).toEqual([206, 'application/octet-stream'])
  expect((await ask(`/ipfs/${cid}?filename=a.bin`, { headers: { range: 'bytes=0-9' } })).status).toBe(404)
})

test('52: a range beyond 2^53 of a file of 2^60 bytes is exact', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const leaf = pattern(1 << 20)
  let child = { cid: await putRaw(store, leaf), size: 1n << 20n }
  // By fours: ipfs-unixfs 13.1.1 garbles sizes from 2^31 to 2^32.
  for (let level = 0; level < 20; level++) child = await putFile(store, [child, child, child, child])
  const start = 2n ** 53n + 1n
  const answer = await ask(`/ipfs/${child.cid}?filename=a.bin`, { headers: { range: `bytes=${start}-${start + 9n}` } })
  expect([answer.status, answer.headers['content-range']]).toEqual([206, `bytes ${start}-${start + 9n}/${2n ** 60n}`])
  expect(answer.bytes.equals(leaf.subarray(1, 11))).toBe(true)
  const all = await ask(`/ipfs/${child.cid}?filename=a.bin`, { method: 'HEAD' })
  expect(all.headers['content-length']).toBe(String(2n ** 60n))
})

test('If-None-Match is answered with 304 before any content is read', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const cid = await importDag(store, [{ path: 'a', content: pattern(3000) }], { chunkBytes: 1024 })
  for (const tags of [`"${cid}"`, `"x", W/"${cid}"`, '*']) {
    store.forget()
    const answer = await ask(`/ipfs/${cid}`, { headers: { 'if-none-match': tags } })
    expect([answer.status, answer.text, store.asked.length]).toEqual([304, '', 1])
    expect(answer.headers).toMatchObject({ etag: `"${cid}"`, 'cache-control': immutable })
    expect(answer.headers['content-length']).toBeUndefined()
  }
})

test('a raw block and a CAR have their own types, tags and names', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await importDag(store, [{ path: 'd/a.txt', content: hello }])
  const raw = await ask(`/ipfs/${root}/a.txt`, { headers: { accept: 'application/vnd.ipld.raw' } })
  expect(raw.text).toBe('hello world')
  expect(raw.headers).toMatchObject({
    'content-type': 'application/vnd.ipld.raw',
    'content-disposition': `attachment; filename="${helloCid}.bin"; filename*=UTF-8''${helloCid}.bin`,
    etag: `"${helloCid}.raw"`,
    'x-ipfs-roots': `${root},${helloCid}`,
    'content-location': `/ipfs/${root}/a.txt?format=raw`,
    'cache-control': immutable,
  })
  const car = await ask(`/ipfs/${root}/a.txt?format=car`)
  expect(car.headers).toMatchObject({
    'content-type': 'application/vnd.ipld.car; version=1; order=dfs; dups=n',
    'content-disposition': `attachment; filename="${root}_a.txt.car"; filename*=UTF-8''${root}_a.txt.car`,
    'accept-ranges': 'none',
    'x-content-type-options': 'nosniff',
  })
  expect(car.headers.etag).toMatch(/^W\/"/)
  expect(car.headers['content-location']).toBeUndefined()
  expect(car.bytes.includes(hello)).toBe(true)
  const again = { 'if-none-match': car.headers.etag }
  expect((await ask(`/ipfs/${root}/a.txt?format=car`, { headers: again })).status).toBe(304)
})

test('dag-json and dag-cbor are served as they are, and never converted', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const json = await putBytes(store, Buffer.from('{"a":1}'), 0x0129)
  const answer = await ask(`/ipfs/${json}`)
  expect([answer.status, answer.text]).toEqual([200, '{"a":1}'])
  expect(answer.headers).toMatchObject({ 'content-type': 'application/vnd.ipld.dag-json', etag: `"${json}.dag-json"` })
  expect((await ask(`/ipfs/${json}?format=json`)).headers['content-type']).toBe('application/json')
  expect((await ask(`/ipfs/${json}?format=dag-cbor`)).status).toBe(406)
  const file = await putRaw(store, hello)
  expect((await ask(`/ipfs/${file}?format=dag-json`)).status).toBe(406)
  expect((await ask(`/ipfs/${file}?format=json`)).text).toBe('hello world')
})

test('34-38: a file name from the URL is shown or saved under, and cannot leave its header', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  await putRaw(store, hello)
  const disposition = async (query: string) => (await ask(`/ipfs/${helloCid}?${query}`)).headers['content-disposition']
  expect(await disposition('filename=a%0d%0aX:%201')).toMatch(/^inline; filename="a__X: 1"/)
  expect(await disposition('filename=a";x="b')).toMatch(/^inline; filename="a_;x=_b"/)
  expect(await disposition('filename=%F0%9F%98%80&download=true')).toBe(
    `attachment; filename="_"; filename*=UTF-8''%F0%9F%98%80`,
  )
  expect(await disposition(`filename=${'x'.repeat(4000)}`)).toContain(`filename="${'x'.repeat(255)}"`)
  expect(await disposition('download=true')).toMatch(`attachment; filename="${helloCid}"`)
  const page = await ask(`/ipfs/${helloCid}?filename=x.html`)
  expect(page.headers['content-type']).toBe('text/html; charset=utf-8')
  expect(page.headers['content-security-policy']).toMatch(/^sandbox /)
  expect(page.headers['content-security-policy']).not.toContain('allow-same-origin')
})

test('JSON without a name is application/json', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const cid = await putRaw(store, Buffer.from('{"a": [1]}'))
  expect((await ask(`/ipfs/${cid}`)).headers['content-type']).toBe('application/json')
})

test('methods other than GET, HEAD and OPTIONS are 405, and their bodies are not awaited', async () => {
  const { ask } = await openGateway(onTestFinished)
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'TRACE', 'PROPFIND']) {
    const headers = method === 'POST' ? { 'content-length': '1000000', 'content-type': 'application/json' } : {}
    const answer = await ask(`/ipfs/${helloCid}`, { method, headers })
    expect([method, answer.status, answer.headers.allow]).toEqual([method, 405, 'GET, HEAD, OPTIONS'])
  }
  const options = await ask(`/ipfs/${helloCid}`, { method: 'OPTIONS' })
  expect([options.status, options.headers['access-control-allow-methods']]).toEqual([200, 'GET, HEAD, OPTIONS'])
})

test('a service worker is refused, since all content shares one origin', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  await putRaw(store, hello)
  expect((await ask(`/ipfs/${helloCid}`, { headers: { 'service-worker': 'script' } })).status).toBe(400)
})

test('only-if-cached is answered with 412 when the root is not here', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const headers = { 'cache-control': 'only-if-cached' }
  expect((await ask(`/ipfs/${helloCid}`, { headers })).status).toBe(412)
  await putRaw(store, hello)
  expect((await ask(`/ipfs/${helloCid}`, { headers })).status).toBe(200)
})

test('an error comes as JSON, page or text, as the client likes, and is not cached', async () => {
  const { ask } = await openGateway(onTestFinished)
  const json = await ask(`/ipfs/${helloCid}`, { headers: { accept: 'application/json' } })
  expect(json.headers).toMatchObject({ 'content-type': 'application/json', 'cache-control': 'no-store' })
  expect(JSON.parse(json.text)).toMatchObject({ code: 'block_not_found', message: expect.any(String) })
  const text = await ask(`/ipfs/${helloCid}`)
  expect(text.headers['content-type']).toBe('text/plain; charset=utf-8')
  const page = await ask('/ipfs/%3Cimg%20src=x%20onerror=alert(1)%3E', { headers: html })
  expect(page.status).toBe(400)
  expect(page.text).toContain('&lt;img src=x')
  expect(page.text).not.toContain('<img')
  expect(page.headers['content-security-policy']).toMatch(/^default-src 'none'/)
})

test('/ tells what this is', async () => {
  const { ask } = await openGateway(onTestFinished)
  expect((await ask('/', { headers: html })).text).toContain('Stowage gateway')
  expect(JSON.parse((await ask('/')).text)).toMatchObject({ service: 'stowage gateway' })
})

test('a port that is taken is one clear error', async () => {
  const { port } = await openGateway(onTestFinished)
  const { createGateway } = await import('../../src/gateway/server.ts')
  const { readConfig } = await import('../../src/config.ts')
  const { silent } = await import('../support/stores.ts')
  const open = () => Promise.reject(new Error())
  const get = { open, follow: open, car: () => [] as never, carTag: () => '', tar: () => [] as never, tarTag: () => '' }
  const { hosts, limits } = readConfig({})
  const config = { listen: { host: '127.0.0.1', port }, hosts, limits }
  const second = createGateway({ get, log: silent }, config)
  await expect(second.listen()).rejects.toMatchObject({ code: 'PORT_TAKEN' })
  await second.close({ graceMs: 0 })
})
