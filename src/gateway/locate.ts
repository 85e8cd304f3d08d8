import type { IncomingHttpHeaders } from 'node:http'
import { AppError } from '../errors.ts'
import { ByteLru } from '../lib/lru.ts'
import { KiB, MiB } from '../lib/units.ts'
import { homeReply } from './home.ts'
import { type NameLookup, resolveNameRequest } from './name-request.ts'
import type { Reply } from './reply.ts'
import { type ContentRequest, parseContentRequest, splitTarget } from './request.ts'

/** What a URL leads to: content, or an answer without any (the home page, a redirect). */
export type Located =
  | { readonly kind: 'content'; readonly request: ContentRequest }
  | { readonly kind: 'answer'; readonly reply: Reply }

export interface LocatorParts {
  /** Undefined: nothing has a name here. */
  readonly names: NameLookup | undefined
  readonly pathSegmentsMax: number
}

/** A URL and what it was parsed to, in bytes: generous, it bounds the memo. */
const rememberedBytes = (url: string): number => 4 * url.length + KiB

/** From a URL to what is asked for. */
export class Locator {
  readonly #parts: LocatorParts
  readonly #requests = new ByteLru<Located>(4 * MiB)

  constructor(parts: LocatorParts) {
    this.#parts = parts
  }

  /** What is known without looking anything up: the same URL always means the same. */
  known(url: string): Located | undefined {
    return this.#requests.get(url)
  }

  /** @throws AppError ROUTE_NOT_FOUND | PATH_INVALID | CID_INVALID | NAME_INVALID | NAME_NOT_FOUND */
  async locate(url: string, headers: IncomingHttpHeaders, signal: AbortSignal): Promise<Located> {
    const { pathname, search } = splitTarget(url)
    if (pathname === '/') return { kind: 'answer', reply: homeReply(headers.accept) }
    const { names, pathSegmentsMax } = this.#parts
    if (names !== undefined && pathname.startsWith('/names/')) {
      return content(await resolveNameRequest(pathname, search, names, { pathSegmentsMax, signal }))
    }
    if (!pathname.startsWith('/ipfs/')) {
      throw new AppError('ROUTE_NOT_FOUND', 'there is nothing at this path', {
        hint: 'content is at /ipfs/<cid> and /names/<name>',
      })
    }
    const located = content(parseContentRequest(pathname, search, pathSegmentsMax))
    this.#requests.set(url, located, rememberedBytes(url))
    return located
  }
}

function content(request: ContentRequest): Located {
  return { kind: 'content', request }
}
