import * as dagCbor from '@ipld/dag-cbor'
import { UnixFS } from 'ipfs-unixfs'
import { expect, onTestFinished, test } from 'vitest'
import type { ReadLog } from '../../src/content/verbs.ts'
import { formatLocation } from '../../src/gateway/content-location.ts'
import { CountingStore, importDag, putBytes, putFile, putNode, putRaw } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'

const axios = 'application/json, text/plain, */*'
const carType = 'application/vnd.ipld.car'
const text = (value: string) => Buffer.from(value)

async function opened() {
  const formats: string[] = []
  const reads: Pick<ReadLog, 'read'> = { read: (_, { format }) => formats.push(format) }
  const gateway = await openGateway(onTestFinished, {}, new CountingStore(), { parts: { reads: reads as ReadLog } })
  const { store } = gateway
  const leaf = await putRaw(store, text('hello'))
  const dags = {
    leaf,
    site: await importDag(store, [{ path: 'd/index.html', content: text('<h1>x</h1>') }]),
    tree: await importDag(store, [{ path: 'd/sub/a.txt', content: text('hello') }]),
    cbor: await putBytes(store, dagCbor.encode({ a: 1 }), 0x71),
    bare: await putNode(store, undefined, [{ cid: leaf, name: 'first' }]),
    other: await putNode(store, text('\xffnot UnixFS'), [{ cid: leaf, name: 'first' }]),
  }
  const asked = (path: string, accept?: string) =>
    gateway.ask(path, accept === undefined ? {} : { headers: { accept } })
  return { ...gateway, ...dags, formats, asked }
}

test('what axios and Angular send gets the page of a folder, with or without index.html, and JSON where there is some', async () => {
  const { asked, site, tree, cbor, leaf, bare, formats } = await opened()
  for (const [path, status, type] of [
    [`/ipfs/${site}/`, 200, 'text/html; charset=utf-8'],
    [`/ipfs/${tree}/`, 200, 'text/html; charset=utf-8'],
    [`/ipfs/${tree}`, 301, 'text/plain; charset=utf-8'],
    [`/ipfs/${tree}/sub/a.txt`, 200, 'text/plain; charset=utf-8'],
    [`/ipfs/${leaf}`, 200, 'text/plain; charset=utf-8'],
    [`/ipfs/${cbor}`, 200, 'application/vnd.ipld.dag-cbor'],
    // Neither a page nor a file, whatever is asked for.
    [`/ipfs/${bare}`, 406, 'application/json'],
  ] as const) {
    const { status: got, headers } = await asked(path, axios)
    expect([path, got, headers['content-type']]).toEqual([path, status, type])
    // It is not JSON that was sent, so it has no other URL than that which was asked for.
    if (path !== `/ipfs/${leaf}` && !path.endsWith('a.txt')) expect(headers['content-location']).toBeUndefined()
  }
  expect(formats.slice(0, 2)).toEqual(['unixfs', 'unixfs'])
})

test('Accept is taken by its weights, and what content is not to be had in makes room for the next wish', async () => {
  const { asked, tree, cbor } = await opened()
  const folder = `/ipfs/${tree}/`
  const typeOf = async (path: string, accept: string) => {
    const { status, headers } = await asked(path, accept)
    return status === 200 ? String(headers['content-type']) : status
  }
  expect(await typeOf(folder, 'application/json')).toBe(406)
  expect(await typeOf(folder, 'application/json, */*;q=0')).toBe(406)
  expect(await typeOf(folder, 'application/json, application/*')).toBe(406)
  expect(await typeOf(folder, 'application/json, text/*')).toMatch(/^text\/html/)
  expect(await typeOf(folder, 'application/json, text/html;q=0.1')).toMatch(/^text\/html/)
  expect(await typeOf(folder, 'application/vnd.ipld.dag-json, application/x-tar;q=0.5, */*;q=0.1')).toBe(
    'application/x-tar',
  )
  expect(await typeOf(folder, `application/json, ${carType};q=0.5`)).toMatch(/^application\/vnd\.ipld\.car/)
  expect(await typeOf(folder, 'application/vnd.ipfs.ipns-record, */*')).toMatch(/^text\/html/)
  const block = `/ipfs/${cbor}`
  expect(await typeOf(block, 'application/vnd.ipld.dag-json, application/cbor;q=0.1')).toBe('application/cbor')
  expect(await typeOf(block, 'application/x-tar, */*')).toBe('application/vnd.ipld.dag-cbor')
  expect(await typeOf(block, 'application/json, application/*')).toBe('application/vnd.ipld.dag-cbor')
  expect(await typeOf(block, 'application/json, text/*')).toBe(406)
})

test('dag-pb is in no codec that can be asked for: 406, whether it has UnixFS data, other data or none', async () => {
  const { ask, asked, tree, bare, other, store } = await opened()
  const damaged = await putNode(store, Uint8Array.of(0x08, 2, 0x18, 9), [])
  for (const cid of [tree, bare, other, damaged]) {
    for (const codec of ['dag-json', 'dag-cbor', 'json', 'cbor']) {
      for (const method of ['GET', 'HEAD']) {
        const { status } = await ask(`/ipfs/${cid}?format=${codec}`, { method })
        expect([`${cid}`, codec, method, status]).toEqual([`${cid}`, codec, method, 406])
      }
    }
    expect((await asked(`/ipfs/${cid}`, 'application/vnd.ipld.dag-json')).status).toBe(406)
    expect((await asked(`/ipfs/${cid}?format=raw`)).status).toBe(200)
  }
})

test('dag-pb without UnixFS data is gone through by the names of its links, the first of two that are equal', async () => {
  const { asked, bare, other, leaf, store, tree } = await opened()
  for (const cid of [bare, other]) {
    const { status, text: body, headers } = await asked(`/ipfs/${cid}/first`)
    expect([status, body, headers['x-ipfs-roots']]).toEqual([200, 'hello', `${cid},${leaf}`])
    expect((await asked(`/ipfs/${cid}/second`)).status).toBe(404)
    expect((await asked(`/ipfs/${cid}/first/below`)).status).toBe(404)
  }
  const deeper = await putNode(store, undefined, [
    { cid: tree, name: 'twice' },
    { cid: leaf, name: 'twice' },
    { cid: bare, name: 'ä b' },
  ])
  expect((await asked(`/ipfs/${deeper}/twice/sub/a.txt`)).text).toBe('hello')
  expect((await asked(`/ipfs/${deeper}/%C3%A4%20b/first`)).text).toBe('hello')
})

test('a file or a directory whose UnixFS data is damaged is not gone through by names', async () => {
  const { asked, leaf, store } = await opened()
  const links = [{ cid: leaf, name: 'first' }]
  for (const data of [Uint8Array.of(0x08, 2, 0x18, 9), Uint8Array.of(0x08, 5), Uint8Array.of(0x08, 99)]) {
    expect((await asked(`/ipfs/${await putNode(store, data, links)}/first`)).status).toBe(422)
  }
})

test('a file whose blocksizes do not fit its links says so by their name, for a range as for the whole', async () => {
  const { ask, leaf, store } = await opened()
  const compact = await putNode(store, Uint8Array.of(0x08, 2, 0x18, 5), [{ cid: leaf }])
  for (const headers of [{}, { range: 'bytes=0-1' }]) {
    const { status, text: body } = await ask(`/ipfs/${compact}`, { headers })
    expect([status, body]).toEqual([422, expect.stringContaining('blocksizes')])
  }
  const { cid } = await putFile(store, [{ cid: leaf, size: 5n }])
  expect((await ask(`/ipfs/${cid}`, { headers: { range: 'bytes=0-1' } })).status).toBe(206)
})

test('Content-Location keeps the slash and all other parameters, as they were sent', async () => {
  const { asked, tree, cbor } = await opened()
  const locationOf = async (path: string, accept: string) => (await asked(path, accept)).headers['content-location']
  const raw = 'application/vnd.ipld.raw'
  for (const [path, accept, expected] of [
    [`/ipfs/${tree}/`, raw, `/ipfs/${tree}/?format=raw`],
    [`/ipfs/${tree}`, raw, `/ipfs/${tree}?format=raw`],
    [
      `/ipfs/${tree}/sub/?x=1&y&filename=a+b%2F.bin&x=2`,
      raw,
      `/ipfs/${tree}/sub/?format=raw&x=1&y&filename=a+b%2F.bin&x=2`,
    ],
    [`/ipfs/${tree}/?&&z=%C3%A4`, raw, `/ipfs/${tree}/?format=raw&z=%C3%A4`],
    [`/ipfs/${tree}/?format=`, raw, `/ipfs/${tree}/?format=raw`],
    [`/ipfs/${cbor}?q=%`, 'application/cbor', `/ipfs/${cbor}?format=cbor&q=%`],
    [
      `/ipfs/${tree}/sub/?download=true&dag%2Dscope=block&car-dups=y&w=1`,
      carType,
      `/ipfs/${tree}/sub/?format=car&dag-scope=block&car-version=1&car-order=dfs&car-dups=y&download=true&w=1`,
    ],
  ] as const) {
    const location = await locationOf(path, accept)
    expect(location).toBe(expected)
    const [negotiated, direct] = [await asked(path, accept), await asked(location ?? '')]
    expect([direct.headers.etag, direct.headers['content-disposition']]).toEqual([
      negotiated.headers.etag,
      negotiated.headers['content-disposition'],
    ])
  }
})

test('bytes of a URL that no header may carry are escaped, where a version of Node lets them in', () => {
  const asked = { href: '/ipfs/x', trailingSlash: true, search: '?z=\xc3\xa4&format=car' }
  expect(formatLocation(asked, 'raw')).toBe('/ipfs/x/?format=raw&z=%C3%A4')
})

test('Content-Location at an origin of its own is a path of that origin', async () => {
  const { ask, tree } = await opened()
  const headers = { host: `${tree}.ipfs.localhost:8080`, accept: 'application/x-tar' }
  expect((await ask('/?a=b', { headers })).headers['content-location']).toBe('/?format=tar&a=b')
  expect((await ask('/sub', { headers })).headers['content-location']).toBe('/sub?format=tar')
})

test.each([
  ['plain', 'a.txt', 'a.txt'],
  ['what a path may hold', 'a+b&c=d;e!$\'()*,:@?#[]^`{|}"<>~\\', 'a+b&c=d;e!$\'()*,:@?#[]^`{|}"<>~\\'],
  ['a space', 'a b', 'a%20b'],
  ['a percent sign', '100%25', '100%2525'],
  ['beyond ASCII', 'źdźbło 😀.txt', '%C5%BAd%C5%BAb%C5%82o%20%F0%9F%98%80.txt'],
  ['line breaks', 'a\r\nX-Evil: 1', 'a%0D%0AX-Evil:%201'],
  ['other controls', 'a\tb\u007f\u0085c', 'a%09b%7F%C2%85c'],
])('X-Ipfs-Path carries any name, and decodes to it: %s', async (_, name, expected) => {
  const { ask, leaf, store } = await opened()
  const root = await putNode(store, new UnixFS({ type: 'directory' }).marshal(), [{ cid: leaf, name }])
  for (const method of ['GET', 'HEAD']) {
    const { status, headers } = await ask(`/ipfs/${root}/${encodeURIComponent(name)}?filename=a`, { method })
    expect([status, headers['x-ipfs-path'], headers['x-evil']]).toEqual([200, `/ipfs/${root}/${expected}`, undefined])
    expect(decodeURIComponent(String(headers['x-ipfs-path']))).toBe(`/ipfs/${root}/${name}`)
    expect(headers['ipfs-uri']).toMatch(/^ipfs:\/\/[\w.~%/-]+$/)
  }
})

test('a CAR of a long path keeps its .car, and a long filename= its own ending', async () => {
  const { asked, leaf, store } = await opened()
  const nameOf = async (path: string) => {
    const disposition = String((await asked(path)).headers['content-disposition'])
    return decodeURIComponent(/filename\*=UTF-8''(\S+)$/.exec(disposition)?.[1] ?? '')
  }
  for (const name of ['x'.repeat(250), 'ä'.repeat(120), '界'.repeat(80), `${'y'.repeat(200)}.txt`]) {
    const root = await putNode(store, new UnixFS({ type: 'directory' }).marshal(), [{ cid: leaf, name }])
    const sent = await nameOf(`/ipfs/${root}/${encodeURIComponent(name)}?format=car`)
    expect(sent).toMatch(new RegExp(`^${root}_.+\\.car$`, 'u'))
    expect(Buffer.byteLength(sent)).toBeLessThanOrEqual(255)
  }
  for (const [format, extension] of [
    ['car', 'car'],
    ['tar', 'tar'],
    ['raw', 'bin'],
  ] as const) {
    const sent = await nameOf(
      `/ipfs/${leaf}?format=${format}&filename=${encodeURIComponent('界'.repeat(200))}.${extension}`,
    )
    expect(sent).toBe(`${'界'.repeat(83)}.${extension}`)
  }
})
