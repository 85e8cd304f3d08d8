import { encode as encodePb } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { expect, onTestFinished, test } from 'vitest'
import type { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { importDag, putBytes, putNode, putRaw } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'
import { putHugeDirectory } from '../support/huge-directory.ts'

const text = (content: string) => Buffer.from(content)
const listingCache = 'public, max-age=604800, stale-while-revalidate=2678400'

/** A directory with these very names, in this order, all leading to one file. */
async function putDirectory(store: MemoryBlockstore, names: readonly string[]): Promise<{ root: CID; file: CID }> {
  const file = await putRaw(store, text('x'))
  const Links = names.map((Name) => ({ Hash: file, Name, Tsize: 1 }))
  const sorted = [...Links].sort((a, b) => Buffer.compare(Buffer.from(a.Name), Buffer.from(b.Name)))
  const data = new UnixFS({ type: 'directory' }).marshal()
  return { root: await putBytes(store, encodePb({ Data: data, Links: sorted }), 0x70), file }
}

test('a directory without its slash is redirected on this host, query and all', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await importDag(store, [{ path: 'd/e f/ą.txt', content: text('x') }])
  for (const method of ['GET', 'HEAD']) {
    const answer = await ask(`/ipfs/${root}/e%20f?a=%C4%85&b`, { method })
    expect([answer.status, answer.headers.location]).toEqual([301, `/ipfs/${root}/e%20f/?a=%C4%85&b`])
    expect(answer.headers['cache-control']).toBe('public, max-age=29030400, immutable')
    expect(answer.headers['access-control-allow-origin']).toBe('*')
  }
  expect((await ask(`/ipfs/${root}?go-get=1`)).status).toBe(200)
})

test('a crawler finds each folder once: other forms and orders are nofollow, and forms lie beside the tree', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await importDag(store, [
    { path: 'd/sub/a', content: text('x') },
    { path: 'd/b', content: text('y') },
  ])
  const html = { headers: { accept: 'text/html' } }
  for (const path of ['', 'sub/']) {
    const base = `http://gateway/ipfs/${root}/${path}`
    const page = (await ask(`/ipfs/${root}/${path}`, html)).text
    const links = [...page.matchAll(/<a ([^>]*)>/g)].map(([, attributes = '']) => ({
      url: new URL(/href="([^"]*)"/.exec(attributes)?.[1]?.replaceAll('&amp;', '&') ?? '', base),
      nofollow: / rel="nofollow"|^rel="nofollow"/.test(attributes),
    }))
    const forms = links.filter(({ url }) => url.searchParams.has('format'))
    expect(forms.map(({ url }) => url.searchParams.get('format'))).toEqual(['car', 'tar'])
    for (const { url, nofollow } of forms) {
      expect(nofollow).toBe(true)
      expect(url.pathname.startsWith(`/ipfs/${root}/`)).toBe(false)
      expect((await ask(`${url.pathname}${url.search}`)).status).toBe(200)
    }
    const followed = links.filter(({ url, nofollow }) => !nofollow && url.pathname.startsWith(`/ipfs/${root}/`))
    for (const { url } of followed) expect(url.search).toBe('')
    expect(followed.length).toBeGreaterThan(0)
  }
})

test('index.html is served in the name of its directory', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await importDag(store, [{ path: 'd/index.html', content: text('<p>hi') }])
  const answer = await ask(`/ipfs/${root}/`)
  expect([answer.status, answer.text]).toEqual([200, '<p>hi'])
  expect(answer.headers).toMatchObject({
    'content-type': 'text/html; charset=utf-8',
    etag: `"${root}"`,
    'x-ipfs-roots': root.toString(),
    'x-ipfs-path': `/ipfs/${root}/`,
    'cache-control': 'public, max-age=29030400, immutable',
  })
  expect(answer.headers['content-security-policy']).toMatch(/^sandbox allow-scripts /)
  const again = await ask(`/ipfs/${root}/`, { headers: { 'if-none-match': `"${root}"` } })
  expect(again.status).toBe(304)
})

test('a listing names entries, sizes and CIDs without reading one of them', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await importDag(store, [
    { path: 'd/ą/ę/file-źł.txt', content: text('x'.repeat(2048)) },
    { path: 'd/ą/ę/b.bin', content: text('y') },
  ])
  const leaf = await ask(`/ipfs/${root}/%C4%85/%C4%99/file-%C5%BA%C5%82.txt`, { method: 'HEAD' })
  const fileCid = leaf.headers.etag?.replaceAll('"', '')
  store.forget()
  const { headers, text: html, status } = await ask(`/ipfs/${root}/%C4%85/%C4%99/`)
  expect(status).toBe(200)
  expect(store.asked.length).toBe(3)
  expect(headers['cache-control']).toBe(listingCache)
  expect(headers.etag).toMatch(new RegExp(`^"DirIndex-[0-9a-f]{16}_CID-${headers['x-ipfs-roots']?.slice(-59)}"$`))
  expect(headers['content-security-policy']).toMatch(/^default-src 'none'; style-src 'sha256-/)
  // As the conformance suite compares them.
  expect(html).toContain('Index of')
  expect(html).toContain(
    `/ipfs/<a href="/ipfs/${root}">${root}</a>/<a href="/ipfs/${root}/%C4%85">ą</a>/<a href="/ipfs/${root}/%C4%85/%C4%99">ę</a>`,
  )
  expect(html).toContain(`<a href="/ipfs/${root}/%C4%85/%C4%99/..">..</a>`)
  expect(html).toContain(`<a href="/ipfs/${root}/%C4%85/%C4%99/file-%C5%BA%C5%82.txt">file-źł.txt</a>`)
  expect(html).toContain(
    `<a class="ipfs-hash" translate="no" href="/ipfs/${fileCid}?filename=file-%25C5%25BA%25C5%2582.txt">`,
  )
  expect(html).toContain('2.00 KiB')
  expect((await ask(`/ipfs/${root}/`)).text).not.toContain('>..</a>')
  const again = await ask(`/ipfs/${root}/%C4%85/%C4%99/`, { headers: { 'if-none-match': headers.etag } })
  expect(again.status).toBe(304)
})

test('98: names that are markup, dots, line breaks or half a character are text in a listing', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const names = ['<img src=x onerror=alert(1)>', '"><script>alert(1)</script>', '..', 'a/b', 'a\r\nb', "it's", '&amp;']
  const { root } = await putDirectory(store, names)
  const { text: html, status } = await ask(`/ipfs/${root}/`)
  expect(status).toBe(200)
  expect(html).not.toMatch(/<(img|script)/i)
  expect(html).toContain('&lt;img src=x onerror=alert(1)&gt;')
  expect(html).toContain('&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;')
  expect(html).toContain('&amp;amp;')
  for (const [, href] of html.matchAll(/href="([^"]*)"/g)) expect(href).toMatch(/^(\/ipfs\/|\?)[\w\-./%?=~;&]*$/)
})

test('the path in a title and in the way up is text too', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await importDag(store, [{ path: 'd/<b>x/f', content: text('x') }])
  const { text: html } = await ask(`/ipfs/${root}/%3Cb%3Ex/`)
  expect(html).toContain('&lt;b&gt;x')
  expect(html).not.toContain('<b>')
})

test('a long directory comes in pages, each linked from the one before, with every entry once', async () => {
  const { ask, store } = await openGateway(onTestFinished, { listingEntriesMax: 10 })
  const names = Array.from({ length: 25 }, (_, index) => `file-${String(index).padStart(2, '0')}`)
  const { root } = await putDirectory(store, names)
  const seen: string[] = []
  const tags = new Set<string | undefined>()
  for (let next: string | undefined = ''; next !== undefined; ) {
    const { text: html, headers } = await ask(`/ipfs/${root}/${next}`)
    tags.add(headers.etag)
    const found = [...html.matchAll(/">(file-\d\d)<\/a>/g)].map(([, name]) => name ?? '')
    expect(found.length).toBeLessThanOrEqual(10)
    seen.push(...found)
    next = nextOf(html)
  }
  expect(seen).toEqual(names)
  expect(tags.size).toBe(3)
})

const nextOf = (html: string) => /rel="next" href="([^"]*)"/.exec(html)?.[1]?.replaceAll('&amp;', '&')

test('a page that does not exist in this directory is refused', async () => {
  const { ask, store } = await openGateway(onTestFinished, { listingEntriesMax: 2 })
  const { root } = await putDirectory(store, ['a', 'b', 'c'])
  const { root: other } = await putDirectory(store, ['x', 'y', 'z'])
  const next = nextOf((await ask(`/ipfs/${root}/`)).text) ?? ''
  expect((await ask(`/ipfs/${root}/${next}`)).text).toContain('>c</a>')
  const wrong = [next.slice(0, -1), `${next}0`, '?cursor=', '?cursor=1.1', `?cursor=${'1'.repeat(3000)}`, '?cursor=%00']
  for (const search of wrong) {
    expect((await ask(`/ipfs/${root}/${search}`)).status, search).toBe(400)
    expect((await ask(`/ipfs/${root}/${search}`, { method: 'HEAD' })).status, search).toBe(400)
  }
  expect((await ask(`/ipfs/${other}/${next}`)).status).toBe(400)
})

test('a page of a large directory reads its own shards, and the first one is short by default', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const { root } = await putHugeDirectory(store, 20_000)
  store.forget()
  const first = await ask(`/ipfs/${root}/`)
  const readByFirst = store.asked.length
  expect(first.text.match(/<tr><td/g)).toHaveLength(1000)
  expect(first.text).toContain('Entries 1 to 1,000')
  store.forget()
  const second = await ask(`/ipfs/${root}/${nextOf(first.text)}`)
  expect(second.text).toContain('Entries 1,001 to 2,000')
  expect(store.asked.length).toBeLessThan(readByFirst * 1.5)
  expect(second.text).not.toContain('?sort=')
  const more = await ask(`/ipfs/${root}/?limit=999999`)
  expect(more.text.match(/<tr><td/g)).toHaveLength(10_000)
})

test('a page that holds everything is sorted by name, size or kind, either way', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const file = await putRaw(store, text('x'))
  const cbor = await putBytes(store, Uint8Array.of(0xa0), 0x71)
  const folder = await putNode(store, new UnixFS({ type: 'directory' }).marshal(), [])
  const Links = [
    { Hash: file, Name: 'a', Tsize: 30 },
    { Hash: cbor, Name: 'b', Tsize: 20 },
    { Hash: folder, Name: 'c', Tsize: 10 },
    { Hash: folder, Name: 'd.mp4', Tsize: 40 },
  ]
  const data = new UnixFS({ type: 'directory' }).marshal()
  const root = await putBytes(store, encodePb({ Data: data, Links }), 0x70)
  const order = async (search: string) =>
    [...(await ask(`/ipfs/${root}/${search}`)).text.matchAll(/<td class=".">.*?>([^<]*)<\/a>/g)].map(([, name]) => name)
  expect(await order('')).toEqual(['a', 'b', 'c', 'd.mp4'])
  expect(await order('?desc')).toEqual(['d.mp4', 'c', 'b', 'a'])
  expect(await order('?sort=size')).toEqual(['c', 'b', 'a', 'd.mp4'])
  expect(await order('?sort=size&desc')).toEqual(['d.mp4', 'a', 'b', 'c'])
  expect(await order('?sort=kind')).toEqual(['c', 'd.mp4', 'a', 'b'])
  expect(await order('?sort=<script>')).toEqual(['a', 'b', 'c', 'd.mp4'])
  const tags = await Promise.all(
    ['', '?sort=size', '?desc'].map(async (search) => (await ask(`/ipfs/${root}/${search}`)).headers.etag),
  )
  expect(new Set(tags).size).toBe(3)
})

test('a name that no URL path can lead to is linked by its CID', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const { root, file } = await putDirectory(store, ['', '.', '..', 'a/b', 'a\0b', 'fine'])
  const { text: html } = await ask(`/ipfs/${root}/`)
  const hrefs = [...html.matchAll(/<td class="."><a href="([^"]*)"/g)].map(([, href]) => href)
  expect(hrefs).toHaveLength(6)
  expect(hrefs.filter((href) => href?.startsWith(`/ipfs/${file}?filename=`))).toHaveLength(5)
  for (const href of hrefs) expect((await ask(href ?? '')).status).toBe(200)
})

test('names show what has no shape: controls, line breaks, marks that turn the direction, bytes that are no UTF-8', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const { root } = await putDirectory(store, ['a\r\nb', 'nul\0', 'photo\u202egpj.exe', 'שלום.txt', 'x\u2028y'])
  const { text: html } = await ask(`/ipfs/${root}/`)
  expect(html).toContain('>a␍␊b</a>')
  expect(html).toContain('>nul␀</a>')
  expect(html).toContain('>photo\ufffdgpj.exe</a>')
  expect(html).toContain('>שלום.txt</a>')
  expect(html).toContain('>x\ufffdy</a>')
  const bytes = Buffer.concat([text('bad '), Buffer.of(0xff), text('.txt')])
  const block = encodePb({
    Data: new UnixFS({ type: 'directory' }).marshal(),
    Links: [{ Hash: root, Name: 'bad ?.txt', Tsize: 1 }],
  })
  const at = Buffer.from(block).indexOf('bad ?.txt')
  bytes.copy(block, at)
  const broken = await putBytes(store, block, 0x70)
  const listing = await ask(`/ipfs/${broken}/`)
  expect([listing.status, listing.text.includes('>bad \ufffd.txt</a>')]).toEqual([200, true])
})

test('an empty directory says so', async () => {
  const { ask } = await openGateway(onTestFinished)
  const { store, ask: askOther } = await openGateway(onTestFinished)
  const { root } = await putDirectory(store, [])
  expect((await askOther(`/ipfs/${root}/`)).text).toContain('This directory is empty.')
  expect((await ask(`/ipfs/${root}/`)).status).toBe(404)
})

test('HEAD of a listing has its headers and lists nothing', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const { root } = await putDirectory(store, ['a'])
  const get = await ask(`/ipfs/${root}/`)
  const head = await ask(`/ipfs/${root}/`, { method: 'HEAD' })
  expect([head.status, head.headers.etag, head.headers['content-type']]).toEqual([
    200,
    get.headers.etag,
    'text/html; charset=utf-8',
  ])
})

test('97: a symlink is shown as the text of its target and never followed', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const data = new UnixFS({ type: 'symlink', data: text('/etc/passwd') }).marshal()
  const cid = await putBytes(store, encodePb({ Data: data, Links: [] }), 0x70)
  const answer = await ask(`/ipfs/${cid}`)
  expect([answer.status, answer.text, answer.headers['content-type']]).toEqual([200, '/etc/passwd', 'inode/symlink'])
  expect((await ask(`/ipfs/${cid}/x`)).status).toBe(404)
})

test('89: damaged UnixFS is 422 with a hint, and still served raw', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const cid = await putBytes(store, encodePb({ Data: Uint8Array.of(8, 99), Links: [] }), 0x70)
  expect((await ask(`/ipfs/${cid}`)).status).toBe(422)
  expect((await ask(`/ipfs/${cid}?format=raw`)).status).toBe(200)
})
