import type { DirectoryEntry } from '../content/get.ts'
import { formatBytes } from '../lib/units.ts'
import { type ListingQuery, listingSearch, type SortKey } from './listing-query.ts'
import { assetHash, escapeHtml, page } from './page.ts'
import { breadcrumbs, formLink, isPlain, linkToCid, shortCid, shown, splitRoot } from './place-links.ts'
import { type ContentRequest, encodeSegment } from './request.ts'

/** Raise it when the markup below changes, so that no cache keeps the old look. */
const markupVersion = '3'
export const listingHash = assetHash(markupVersion)

/** One page of a directory. */
export interface Listing {
  readonly query: ListingQuery
  /** The query of the next page; undefined on the last. */
  readonly next: ListingQuery | undefined
  readonly entries: readonly DirectoryEntry[]
  readonly entriesMax: number
}

/** A page that shows the whole directory: that one can be sorted. */
export const holdsAll = ({ query, next }: Listing): boolean => query.cursor === undefined && next === undefined

/**
 * The children are not read: names, sizes and CIDs are those of the directory's own links, and kinds are what a link tells.
 */
export function listingHtml(request: ContentRequest, directory: DirectoryEntry['cid'], listing: Listing): string {
  const { entries } = listing
  const { place, tail } = request
  const { namespace, root } = splitRoot(place)
  const cid = directory.toString()
  const title = `Index of ${tail.at(-1) ?? (namespace === 'ipfs' ? shortCid(root) : root)}`
  const isEmpty = entries.length === 0 && tail.length === 0 && holdsAll(listing)
  const ownCid = namespace === 'ipfs' && tail.length === 0 ? '' : ` · <a ${linkToCid(place, cid)}>${shortCid(cid)}</a>`
  return page({
    title,
    bare: true,
    main: `<div class="card list">
<header>
<h1>${shown(title)}</h1>
<div class="path">${breadcrumbs(request)}</div>
<p class="meta">${summary(listing)}${ownCid} · download as ${formLink(place, cid, 'car', 'CAR')} or ${formLink(place, cid, 'tar', 'TAR')}</p>
</header>
${isEmpty ? '<p class="empty">This directory is empty.</p>' : table(request, directory, listing)}
${pager(directory, listing)}</div>`,
  })
}

function summary(listing: Listing): string {
  const { entries, query } = listing
  const count = entries.length
  if (!holdsAll(listing)) {
    const before = query.cursor?.before ?? 0
    return count === 0 ? 'No more entries' : `Entries ${grouped(before + 1)} to ${grouped(before + count)}`
  }
  const dagBytes = entries.reduce((sum, entry) => sum + entry.dagBytes, 0n)
  return `${grouped(count)} ${count === 1 ? 'entry' : 'entries'}, ${formatBytes(dagBytes)}`
}

/** `1,234,567`; `toLocaleString` is slow. */
const grouped = (count: number): string =>
  count < 1000 ? String(count) : String(count).replace(/\B(?=(\d{3})+$)/g, ',')

function table(request: ContentRequest, directory: DirectoryEntry['cid'], listing: Listing): string {
  return `<table>
<thead><tr>${headings(directory, listing)}</tr></thead>
<tbody>
${parentRow(request)}${listing.entries.map((entry) => row(request, entry)).join('\n')}
</tbody>
</table>`
}

/** Links that sort, where all entries are on the page. */
function headings(directory: DirectoryEntry['cid'], listing: Listing): string {
  if (!holdsAll(listing)) return '<th>Name</th><th class="cid">CID</th><th class="size">Size</th>'
  const link = (key: SortKey, label: string) => sortLink(directory, listing.query, key, label)
  return `<th>${link('name', 'Name')}<span class="kind">${link('kind', 'Kind')}</span></th><th class="cid">CID</th><th class="size">${link('size', 'Size')}</th>`
}

/** Asked for again, it turns round. The largest come first. */
function sortLink(directory: DirectoryEntry['cid'], query: ListingQuery, sort: SortKey, label: string): string {
  const isOn = query.sort === sort
  const descending = isOn ? !query.descending : sort === 'size'
  const arrow = isOn ? ` <span aria-hidden="true">${query.descending ? '↓' : '↑'}</span>` : ''
  const current = isOn ? ` aria-current="true"` : ''
  return `<a rel="nofollow" href="?${escapeHtml(listingSearch({ ...query, sort, descending }, directory))}"${current}>${label}${arrow}</a>`
}

function parentRow({ href, tail }: ContentRequest): string {
  if (tail.length === 0) return ''
  return `<tr><td class="u"><a href="${href}/..">..</a></td><td class="cid"></td><td class="size"></td></tr>\n`
}

function row({ href, place }: ContentRequest, { name, cid, dagBytes }: DirectoryEntry): string {
  const text = cid.toString()
  const kind = kindOf(name, cid.code)
  const target = linkToCid(place, text, name)
  const named = isReachable(name) ? `href="${href}/${isPlain(name) ? name : encodeSegment(name)}"` : target
  const bytes = Number(dagBytes)
  const size = bytes > 0 || kind === 'file' ? ` title="${grouped(bytes)} bytes">${formatBytes(bytes)}` : '>–'
  return `<tr><td class="${classOf[kind]}"><a ${named}>${shown(name)}</a></td><td class="cid"><a class="ipfs-hash" translate="no" ${target}>${shortCid(text)}</a></td><td class="size"${size}</td></tr>`
}

/** No URL path leads to a name that is a dot segment, holds a slash or NUL, or is no UTF-8 (shown with U+FFFD). */
function isReachable(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0\ufffd]/.test(name) && name.isWellFormed()
}

/**
 * As far as a link tells: a raw block is a file, another codec is data. dag-pb is a directory, a file of several blocks or
 * a symlink; a name with an extension is likely a file.
 */
export type Kind = 'directory' | 'likely-file' | 'file' | 'data'

export const kindOrder: Readonly<Record<Kind, number>> = { directory: 0, 'likely-file': 1, file: 2, data: 3 }
/** Each has an icon in the style of `page.ts`. */
const classOf: Readonly<Record<Kind, string>> = { directory: 'd', 'likely-file': 'l', file: 'f', data: 'n' }

export function kindOf(name: string, codec: number): Kind {
  if (codec === 0x55) return 'file'
  if (codec !== 0x70) return 'data'
  return /\.(?=\d*[a-z])[a-z\d]{1,8}$/i.test(name) ? 'likely-file' : 'directory'
}

function pager(directory: DirectoryEntry['cid'], listing: Listing): string {
  const { query, next, entriesMax } = listing
  if (holdsAll(listing)) return ''
  const link = (to: ListingQuery, text: string, rel = '') =>
    `<a${rel} href="?${escapeHtml(listingSearch(to, directory))}">${text}</a>`
  const links = [
    ...(query.cursor === undefined ? [] : [link({ ...query, cursor: undefined }, 'First page')]),
    ...(next === undefined ? [] : [link(next, 'Next page', ' rel="next"')]),
    ...(query.limit >= entriesMax ? [] : [link({ ...query, limit: entriesMax }, `${grouped(entriesMax)} on a page`)]),
  ]
  const note = `In the stored order. A directory of up to ${grouped(entriesMax)} entries that fits on one page can be sorted.`
  return `<nav>${links.join('')}</nav>\n<p class="note">${note}</p>\n`
}
