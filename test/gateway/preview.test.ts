import * as dagCbor from '@ipld/dag-cbor'
import * as dagJson from '@ipld/dag-json'
import type { CID } from 'multiformats/cid'
import { expect, onTestFinished, test } from 'vitest'
import { putBytes, putRaw } from '../support/dags.ts'
import { type OpenGateway, openGateway } from '../support/gateway.ts'

const html = { headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } }
const listingCache = 'public, max-age=604800, stale-while-revalidate=2678400'

const codecs = [
  ['dag-json', 0x0129, dagJson.encode],
  ['dag-cbor', 0x71, dagCbor.encode],
] as const

async function pageOf({ ask }: OpenGateway, cid: CID | string, search = '') {
  return await ask(`/ipfs/${cid}${search}`, html)
}

for (const [name, code, encode] of codecs) {
  test(`${name}: a browser gets a page with links, everybody else the bytes`, async () => {
    const gateway = await openGateway(onTestFinished)
    const file = await putRaw(gateway.store, Buffer.from('x'))
    const cid = await putBytes(gateway.store, encode({ a: { 'b c': [file] }, n: 7, t: 'text', z: null }), code)
    for (const path of [`${cid}`, `${cid}/`]) {
      const page = await pageOf(gateway, path)
      expect(page.status).toBe(200)
      expect(page.headers).toMatchObject({
        'content-type': 'text/html; charset=utf-8',
        'cache-control': listingCache,
        'x-ipfs-roots': String(cid),
        vary: 'Accept',
      })
      expect(page.headers.etag).toMatch(new RegExp(`^"DagIndex-[0-9a-f]{16}_CID-${cid}"$`))
      expect(page.headers['content-disposition']).toBeUndefined()
      expect(page.headers['content-security-policy']).toMatch(/^default-src 'none'; style-src 'sha256-/)
      expect(page.text).toContain('</html>')
      expect(page.text).toContain(`href="/ipfs/${file}"`)
      expect(page.text).toContain(`href="/ipfs/${cid}/a/b%20c/0"`)
      expect(page.text).toContain(`rel="nofollow" href="/ipfs/${cid}?format=${name}"`)
    }
    const way = await gateway.ask(`/ipfs/${cid}/a/b%20c/0`)
    expect([way.status, way.text]).toEqual([200, 'x'])
    const bytes = await gateway.ask(`/ipfs/${cid}`)
    expect(bytes.headers['content-type']).toBe(`application/vnd.ipld.${name}`)
    const chosen = await pageOf(gateway, cid, `?format=${name}`)
    expect(chosen.headers['content-type']).toBe(`application/vnd.ipld.${name}`)
    expect((await pageOf(gateway, cid, '?download=true')).headers['content-disposition']).toMatch(/^attachment/)
    const { etag } = (await pageOf(gateway, cid)).headers
    const again = await gateway.ask(`/ipfs/${cid}`, { headers: { ...html.headers, 'if-none-match': etag } })
    expect([again.status, again.text]).toEqual([304, ''])
    const head = await gateway.ask(`/ipfs/${cid}`, { ...html, method: 'HEAD' })
    expect([head.status, head.headers.etag, head.text]).toEqual([200, etag, ''])
  })

  test(`${name}: markup in keys and values is text, and keys that no URL can carry are no path`, async () => {
    const gateway = await openGateway(onTestFinished)
    const file = await putRaw(gateway.store, Buffer.from('x'))
    const evil = '"><script>alert(1)</script>'
    const value = { [evil]: evil, '..': file, 'a/b': file, '': file, [`${evil}l`]: file, 'r\u202el': 'a\r\nb' }
    const { text } = await pageOf(gateway, await putBytes(gateway.store, encode(value), code))
    expect(text).not.toMatch(/<(script|img)/i)
    expect(text).toContain('<b>&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;</b>')
    expect(text).toContain('a␍␊b')
    expect(text).not.toContain('\u202e')
    const hrefs = [...text.matchAll(/href="([^"]*)"/g)].map(([, href]) => href)
    for (const href of hrefs) expect(href).toMatch(/^\/ipfs\/[\w\-./%~]*(\?format=[\w-]+)?$/)
    expect(hrefs.filter((href) => href?.includes('..'))).toEqual([])
  })
}

test('bytes are shown by their length and start', async () => {
  const gateway = await openGateway(onTestFinished)
  const cid = await putBytes(
    gateway.store,
    dagCbor.encode({ short: Buffer.from('hi'), long: new Uint8Array(5000) }),
    0x71,
  )
  const { text } = await pageOf(gateway, cid)
  expect(text).toContain('2 B: aGk=')
  expect(text).toContain(`4.88 KiB: ${'A'.repeat(64)}…`)
})

test('a page ends in time: many values, deep ones, long texts and large blocks are cut, and it says so', async () => {
  const gateway = await openGateway(onTestFinished)
  const put = (value: unknown) => putBytes(gateway.store, dagCbor.encode(value), 0x71)
  let deep: unknown = 'bottom'
  for (let level = 0; level < 200; level++) deep = [deep]
  const many = Array.from({ length: 100_000 }, (_, index) => index)
  for (const value of [many, deep, { a: new Uint8Array(700 * 1024) }]) {
    const { status, bytes, text } = await pageOf(gateway, await put(value))
    expect(status).toBe(200)
    expect(bytes.byteLength).toBeLessThan(800 * 1024)
    expect(text).toContain('too large to be shown whole')
    expect(text).toContain('</html>')
  }
  const long = await pageOf(gateway, await put({ text: '<'.repeat(400_000) }))
  expect(long.bytes.byteLength).toBeLessThan(64 * 1024)
  expect(long.text).toContain('(400000 characters)')
  const keys = await pageOf(
    gateway,
    await put({ ['<'.repeat(400_000)]: await putRaw(gateway.store, Buffer.from('x')) }),
  )
  expect(keys.bytes.byteLength).toBeLessThan(64 * 1024)
})

test('a block that is not what its codec says is 422, and its bytes can be had', async () => {
  const gateway = await openGateway(onTestFinished)
  const cid = await putBytes(gateway.store, Buffer.from('no cbor'), 0x71)
  const page = await pageOf(gateway, cid)
  expect(page.status).toBe(422)
  expect(page.text).toContain('?format=raw')
  expect((await gateway.ask(`/ipfs/${cid}?format=raw`)).text).toBe('no cbor')
})
