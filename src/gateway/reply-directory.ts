import type { DirectoryEntry, Target } from '../content/get.ts'
import { withText } from './errors.ts'
import { generated, immutable, matchesEtag } from './headers.ts'
import { kindOf, kindOrder, type Listing, listingHash, listingHtml } from './listing.ts'
import { type ListingQuery, listingSearch, parseListingQuery } from './listing-query.ts'
import { pagePolicy } from './page.ts'
import { type Exchange, noBody, type Reply } from './reply.ts'
import { cacheControlOf, entityHeaders, fileReply } from './reply-file.ts'

/** A listing takes no longer: then the page ends, and says where to go on. */
const listingMsMax = 5000

/** The directory's index.html, or a list of what is in it. */
export async function directoryReply(exchange: Exchange, target: Target): Promise<Reply> {
  const { request, services, signal } = exchange
  if (!request.trailingSlash && !request.query.goGet) return slashRedirect(exchange)
  const roots = target.roots.join(',')
  const index = await target.entry('index.html', { signal })
  if (index !== undefined) {
    const file = await services.get.open({ root: index.cid, segments: [] }, { signal })
    // An index.html that is a directory is shown as an entry like any other.
    if (file.kind === 'file') {
      return await fileReply(exchange, file, { etagCid: target.cid.toString(), roots, name: 'index.html' })
    }
  }
  return await listingReply(exchange, target, roots)
}

/**
 * Without the slash, relative links of the page would lead astray. `href` begins with one slash: it stays on this host.
 * Browsers keep a 301 for good where nothing else is said, and what a name stands for may be a file tomorrow.
 */
function slashRedirect(exchange: Exchange): Reply {
  const { request } = exchange
  const cache = cacheControlOf(request, immutable) ?? 'no-cache'
  const headers = ['Location', `${request.href}/${request.search}`, 'Cache-Control', cache, ...request.pathHeaders]
  return withText(301, [...headers, 'Content-Type', 'text/plain; charset=utf-8'], 'moved: add a slash\n')
}

async function listingReply(exchange: Exchange, target: Target, roots: string): Promise<Reply> {
  const { request, conditions, head, services } = exchange
  const { cid } = target
  const query = parseListingQuery(request.search, cid, services.limits.listingEntriesMax)
  const search = listingSearch(query, cid)
  const etag = `"DirIndex-${listingHash}_CID-${cid}${search === '' ? '' : `_${search}`}"`
  const headers = entityHeaders(exchange, etag, roots, generated)
  if (matchesEtag(conditions.ifNoneMatch, etag)) return { status: 304, headers, body: noBody }
  headers.push('Content-Type', 'text/html; charset=utf-8', 'Content-Security-Policy', pagePolicy)
  // HEAD: the length would cost the entries.
  if (head) return { status: 200, headers, body: noBody }
  const { gateway, origin, contentRoot } = request.place
  const key = [gateway, origin, contentRoot, request.href, etag].join(' ')
  const known = services.listings.get(key)
  if (known !== undefined) return withText(200, headers, known)
  const listing = await readListing(exchange, target, query)
  const html = Buffer.from(listingHtml(request, cid, listing))
  // One that time cut short is not as long as it could be.
  const isFull = listing.next === undefined || listing.entries.length === query.limit
  if (isFull) services.listings.set(key, html, html.byteLength + 2 * key.length)
  return withText(200, headers, html)
}

/** In the stored order; a page that holds all is sorted. */
async function readListing({ services, signal }: Exchange, target: Target, query: ListingQuery): Promise<Listing> {
  const { cursor, limit } = query
  const entriesMax = services.limits.listingEntriesMax
  const until = performance.now() + listingMsMax
  const entries: DirectoryEntry[] = []
  for await (const entry of target.list({ signal, ...(cursor === undefined ? {} : { after: cursor.after }) })) {
    const last = entries.at(-1)
    if (last !== undefined && (entries.length >= limit || performance.now() > until)) {
      const next = { after: last.position, before: (cursor?.before ?? 0) + entries.length }
      return { query, entries, entriesMax, next: { ...query, cursor: next } }
    }
    entries.push(entry)
  }
  if (cursor === undefined) sortEntries(entries, query)
  return { query, entries, entriesMax, next: undefined }
}

/** Of equals the name decides. */
function sortEntries(entries: DirectoryEntry[], { sort, descending }: ListingQuery): void {
  entries.sort((a, b) => byName(a, b))
  if (sort === 'size') entries.sort((a, b) => Number(a.dagBytes - b.dagBytes))
  if (sort === 'kind') entries.sort((a, b) => kindRank(a) - kindRank(b))
  if (descending) entries.reverse()
}

const byName = (a: DirectoryEntry, b: DirectoryEntry): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
const kindRank = ({ name, cid }: DirectoryEntry): number => kindOrder[kindOf(name, cid.code)]
