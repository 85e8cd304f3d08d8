import { CID } from 'multiformats/cid'
import { expect, onTestFinished, test } from 'vitest'
import { listingHtml } from '../../src/gateway/listing.ts'
import { parseListingQuery } from '../../src/gateway/listing-query.ts'
import { contentRequest, type Place } from '../../src/gateway/request.ts'
import { openGateway } from '../support/gateway.ts'
import { putHugeDirectory } from '../support/huge-directory.ts'

const cid = CID.parse('bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e')
const entry = { name: 'file-źł.txt', cid, dagBytes: 2048n, position: [0] }
const file = 'file-%C5%BA%C5%82.txt'

function listingAt(place: Place, tail: readonly string[] = ['ą', 'ę']): string {
  const request = contentRequest({ root: cid, segments: tail }, { place, tail, trailingSlash: true, search: '' })
  const query = parseListingQuery('', cid, 10_000)
  return listingHtml(request, cid, { query, entries: [entry], entriesMax: 10_000, next: undefined })
}

test('on the path gateway everything lies below /ipfs', () => {
  const root = `/ipfs/${cid}`
  const html = listingAt({ contentRoot: root, base: root, origin: '', gateway: '' })
  expect(html).toContain(
    `/ipfs/<a href="${root}">${cid}</a>/<a href="${root}/%C4%85">ą</a>/<a href="${root}/%C4%85/%C4%99">ę</a>`,
  )
  expect(html).toContain(`<a href="${root}/%C4%85/%C4%99/..">..</a>`)
  expect(html).toContain(`<a href="${root}/%C4%85/%C4%99/${file}">file-źł.txt</a>`)
})

test('at a subdomain names are links of its own origin, and CIDs and the way up links of the gateway', () => {
  const html = listingAt({
    contentRoot: `/ipfs/${cid}`,
    base: '',
    origin: `//${cid}.ipfs.gw.example:8080`,
    gateway: '//gw.example:8080',
  })
  const root = `//gw.example:8080/ipfs/${cid}`
  expect(html).toContain(
    `/ipfs/<a href="${root}">${cid}</a>/<a href="${root}/%C4%85">ą</a>/<a href="${root}/%C4%85/%C4%99">`,
  )
  expect(html).toContain('<a href="/%C4%85/%C4%99/..">..</a>')
  expect(html).toContain(`<a href="/%C4%85/%C4%99/${file}">file-źł.txt</a>`)
  expect(html).toContain(`<a class="ipfs-hash" translate="no" href="${root}?filename=file-%25C5%25BA%25C5%2582.txt">`)
})

test('on the host of a site its name is the root, and a CID is explained elsewhere', () => {
  const place = { contentRoot: '/ipns/site.example', base: '', origin: '//site.example', gateway: undefined }
  const html = listingAt(place)
  expect(html).toContain(
    '/ipns/<a href="//site.example/">site.example</a>/<a href="//site.example/%C4%85">ą</a>/<a href="//site.example/%C4%85/%C4%99">ę</a>',
  )
  expect(html).toContain(
    `<a class="ipfs-hash" translate="no" href="https://cid.ipfs.tech/#${cid}" target="_blank" rel="noreferrer noopener">`,
  )
  const top = listingAt(place, [])
  expect(top).toContain('Index of site.example')
  expect(top).not.toContain('>..</a>')
})

test('a name is one step of the way, also with a slash in it', () => {
  const place = { contentRoot: '/names/docs/%C4%85', base: '/names/docs/%C4%85', origin: '', gateway: '' }
  expect(listingAt(place, ['x'])).toContain(
    '/names/<a href="/names/docs/%C4%85">docs/ą</a>/<a href="/names/docs/%C4%85/x">x</a>',
  )
})

test('a host in a link is text, whatever it was said to be', () => {
  const evil = '//"><script>'
  const html = listingAt({ contentRoot: '/ipns/x', base: '', origin: evil, gateway: evil })
  expect(html).not.toContain('<script>')
})

test('a listing that was sent is not made again, and each place, page and order has its own', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const { root } = await putHugeDirectory(store, 5000)
  const search = ['', '?limit=7', '?limit=5000', '?limit=5000&desc', '?limit=5000&sort=kind']
  const first = await Promise.all(search.map((each) => ask(`/ipfs/${root}/${each}`)))
  expect(new Set(first.map(({ text }) => text)).size).toBe(search.length)
  store.forget()
  for (const [index, each] of search.entries()) {
    expect((await ask(`/ipfs/${root}/${each}`)).text).toBe(first[index]?.text)
  }
  // The root, and the way to an index.html that is not there.
  expect(store.asked.length).toBeLessThan(search.length * 4)
})
