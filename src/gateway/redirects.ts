import type { Target } from '../content/get.ts'
import { type AppError, isAppError } from '../errors.ts'
import { ByteLru } from '../lib/lru.ts'
import { collect } from '../lib/streams.ts'
import { KiB, MiB } from '../lib/units.ts'
import { withText } from './errors.ts'
import { immutable } from './headers.ts'
import {
  matchRedirects,
  parseRedirects,
  type Rule,
  redirectsBytesMax,
  redirectsInvalid,
  tooLarge,
  type Verdict,
} from './redirects-file.ts'
import type { Exchange, Reply } from './reply.ts'
import { cacheControlOf } from './reply-file.ts'
import { contentRequest } from './request.ts'

/** Rules by the CID of their file. */
export class RedirectRules {
  readonly #known = new ByteLru<readonly Rule[]>(4 * MiB)

  /** @throws AppError REDIRECTS_INVALID */
  async of(file: Target, { signal }: { readonly signal: AbortSignal }): Promise<readonly Rule[]> {
    const key = file.cid.toString()
    const known = this.#known.get(key)
    if (known !== undefined) return known
    if (file.kind !== 'file') throw redirectsInvalid('it is not a file')
    if (file.size > redirectsBytesMax) throw redirectsInvalid(tooLarge)
    const bytes = await collect(file.read(undefined, { signal, readAheadBytes: 1 }), redirectsBytesMax)
    const rules = parseRedirects(bytes)
    // A rule of a few characters is objects of some hundred bytes.
    this.#known.set(key, rules, KiB + 8 * bytes.byteLength)
    return rules
  }
}

/** How content of a site is answered: the rest of `respond.ts`. */
export type Respond = (exchange: Exchange) => Promise<Reply>

/**
 * What a site says about a path that it does not have, in the file `_redirects` of its root (IPIP-2). Only for a site at an
 * origin of its own, where the paths are the site's; its rules come after everything that is there.
 * @param missing is thrown again where no rule applies
 * @throws AppError REDIRECTS_INVALID
 */
export async function redirectsReply(exchange: Exchange, missing: AppError, respond: Respond): Promise<Reply> {
  const { request, services, signal } = exchange
  const { tail, search } = request
  const file = await openInSite(exchange, ['_redirects'], missing)
  const rules = await services.redirects.of(file, { signal })
  const verdict = matchRedirects(rules, tail, search)
  if (verdict === undefined) throw missing
  if (verdict.kind === 'redirect') return redirect(exchange, verdict)
  const shown = at(exchange, verdict.segments)
  if (verdict.status === 200) return await respond(shown)
  // An error page is what it is: it has no ranges, and nobody has it already.
  const { accept } = exchange.conditions
  const conditions = {
    accept,
    range: undefined,
    ifRange: undefined,
    ifNoneMatch: undefined,
    ifModifiedSince: undefined,
  }
  const page = await respond({ ...shown, conditions })
  return page.status === 200 ? { ...page, status: verdict.status } : page
}

async function openInSite(exchange: Exchange, segments: readonly string[], missing: AppError): Promise<Target> {
  const { services, signal } = exchange
  try {
    return await services.get.open(at(exchange, segments).request.path, { signal })
  } catch (error) {
    throw isAppError(error, 'PATH_NOT_FOUND') ? missing : error
  }
}

/** The exchange for another path of the same site, under the headers of the one that was asked for. */
function at(exchange: Exchange, segments: readonly string[]): Exchange {
  const { request } = exchange
  const { root, segments: asked } = request.path
  // A DNSLink may lead below its root: there the site begins.
  const above = asked.slice(0, asked.length - request.tail.length)
  const path = { root, segments: [...above, ...segments] }
  // With the slash that a page of a directory wants: the address that the visitor sees stays as it is.
  const moved = contentRequest(path, { ...request, tail: segments, trailingSlash: true })
  return { ...exchange, request: { ...moved, pathHeaders: request.pathHeaders } }
}

function redirect({ request }: Exchange, { status, location }: Extract<Verdict, { kind: 'redirect' }>): Reply {
  const cache = ['Cache-Control', cacheControlOf(request, immutable) ?? 'no-cache']
  const headers = ['Location', location, ...cache, ...request.pathHeaders, 'Content-Type', 'text/plain; charset=utf-8']
  return withText(status, headers, `moved: ${location}\n`)
}
