import type { DirectoryEntry } from '../content/get.ts'
import { formatBytes } from '../lib/units.ts'
import { assetHash, escapeHtml, page } from './page.ts'
import { type ContentRequest, encodeSegment } from './request.ts'

/** Raise it when the markup below changes, so that no cache keeps the old look. */
const markupVersion = '1'
export const listingHash = assetHash(markupVersion)

/** One page of a directory. */
export interface Listing {
  readonly entries: readonly DirectoryEntry[]
  /** Of the first entry in the stored order. */
  readonly offset: number
  /** Where the next page starts; undefined on the last. */
  readonly nextOffset: number | undefined
}

/** The children are not read: names, sizes and CIDs are those of the directory's own links. */
export function listingHtml(
  request: ContentRequest,
  cid: string,
  dagBytes: bigint | undefined,
  listing: Listing,
): string {
  const { entries, offset, nextOffset } = listing
  const name = request.path.segments.at(-1)
  const title = `Index of ${name ?? shortCid(cid)}`
  const rows = entries.map((entry) => row(request, entry)).join('\n')
  const body =
    entries.length === 0 && request.path.segments.length === 0
      ? '<p class="empty">This directory is empty.</p>'
      : `<table>
<thead><tr><th>Name</th><th class="cid">CID</th><th class="size">Size</th></tr></thead>
<tbody>
${parentRow(request)}${rows}
</tbody>
</table>`
  return page({
    title,
    bare: true,
    main: `<div class="card list">
<header>
<h1>${escapeHtml(title)}</h1>
<div class="path">${breadcrumbs(request)}</div>
<p class="meta">${summary(listing, dagBytes)} · <a href="?format=car">Download as CAR</a></p>
</header>
${body}
${pager(offset, nextOffset)}</div>
${name === undefined ? '' : `<footer>CID of this directory: <code translate="no">${escapeHtml(cid)}</code></footer>`}`,
  })
}

function summary({ entries, offset, nextOffset }: Listing, dagBytes: bigint | undefined): string {
  const count = entries.length
  if (offset > 0 || nextOffset !== undefined) {
    return `Entries ${(offset + 1).toLocaleString('en')} to ${(offset + count).toLocaleString('en')}`
  }
  const items = `${count.toLocaleString('en')} ${count === 1 ? 'entry' : 'entries'}`
  return dagBytes === undefined ? items : `${items}, ${formatBytes(dagBytes)}`
}

function breadcrumbs(request: ContentRequest): string {
  const root = request.path.root.toString()
  let href = `/ipfs/${root}`
  const parts = [`<a href="${href}">${root}</a>`]
  for (const segment of request.path.segments) {
    href += `/${encodeSegment(segment)}`
    parts.push(`<a href="${href}">${escapeHtml(segment)}</a>`)
  }
  return `/ipfs/${parts.join('/')}`
}

function parentRow(request: ContentRequest): string {
  if (request.path.segments.length === 0) return ''
  return `<tr><td><a href="${request.href}/..">..</a></td><td class="cid"></td><td class="size"></td></tr>\n`
}

function row(request: ContentRequest, { name, cid, dagBytes }: DirectoryEntry): string {
  const text = cid.toString()
  // The file name is escaped twice because the conformance suite compares with Kubo's page, letter by letter.
  const filename = encodeURIComponent(encodeSegment(wellFormed(name)))
  return `<tr><td><a href="${request.href}/${encodeSegment(wellFormed(name))}">${escapeHtml(name)}</a></td><td class="cid"><a class="ipfs-hash" translate="no" href="/ipfs/${text}?filename=${filename}">${shortCid(text)}</a></td><td class="size" title="${dagBytes} bytes with all that is below">${formatBytes(dagBytes)}</td></tr>`
}

function shortCid(cid: string): string {
  return `${cid.slice(0, 6)}…${cid.slice(-6)}`
}

/** `encodeURIComponent` throws on half a surrogate pair; a name is whatever its writer stored. */
function wellFormed(name: string): string {
  return name.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd')
}

function pager(offset: number, nextOffset: number | undefined): string {
  const first = offset > 0 ? '<a href="?">First page</a>' : ''
  const next = nextOffset === undefined ? '' : `<a rel="next" href="?offset=${nextOffset}">Next page</a>`
  return first === '' && next === '' ? '' : `<nav>${first}${next}</nav>\n`
}
