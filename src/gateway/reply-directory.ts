import type { DirectoryEntry, Target } from '../content/get.ts'
import { withText } from './errors.ts'
import { generated, matchesEtag } from './headers.ts'
import { type Listing, listingHash, listingHtml } from './listing.ts'
import { pagePolicy } from './page.ts'
import { type Exchange, noBody, type Reply } from './reply.ts'
import { entityHeaders, fileReply } from './reply-file.ts'

/** facts/security.md §10 `listing_time`: then the page ends, and says where to go on. */
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

/** Without the slash, relative links of the page would lead astray. `href` starts with `/ipfs/`: it stays on this host. */
function slashRedirect(exchange: Exchange): Reply {
  const { request } = exchange
  const headers = ['Location', `${request.href}/${request.search}`, ...request.pathHeaders]
  return withText(301, [...headers, 'Content-Type', 'text/plain; charset=utf-8'], 'moved: add a slash\n')
}

async function listingReply(exchange: Exchange, target: Target, roots: string): Promise<Reply> {
  const { request, conditions, head } = exchange
  const cid = target.cid.toString()
  const { offset } = request.query
  const etag = `"DirIndex-${listingHash}_CID-${cid}${offset === 0 ? '' : `_${offset}`}"`
  const headers = entityHeaders(exchange, etag, roots, generated)
  if (matchesEtag(conditions.ifNoneMatch, etag)) return { status: 304, headers, body: noBody }
  headers.push('Content-Type', 'text/html; charset=utf-8', 'Content-Security-Policy', pagePolicy)
  // HEAD: the length would cost the entries.
  if (head) return { status: 200, headers, body: noBody }
  const listing = await listPage(exchange, target)
  const whole = listing.offset === 0 && listing.nextOffset === undefined
  const dagBytes = whole ? listing.entries.reduce((sum, entry) => sum + entry.dagBytes, 0n) : undefined
  return withText(200, headers, listingHtml(request, cid, dagBytes, listing))
}

/** In the stored order; one page that holds all is sorted by name, which a HAMT does not do. */
async function listPage({ request, services, signal }: Exchange, target: Target): Promise<Listing> {
  const { offset } = request.query
  const entriesMax = services.limits.listingEntriesMax
  const until = performance.now() + listingMsMax
  const entries: DirectoryEntry[] = []
  let position = 0
  for await (const entry of target.list({ signal })) {
    const full = entries.length >= entriesMax || (entries.length > 0 && performance.now() > until)
    if (full) return { entries, offset, nextOffset: position }
    if (position >= offset) entries.push(entry)
    position++
  }
  if (offset === 0) entries.sort((a, b) => (a.name < b.name ? -1 : 1))
  return { entries, offset, nextOffset: undefined }
}
