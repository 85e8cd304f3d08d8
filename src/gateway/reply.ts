import type { LimitConfig } from '../config.ts'
import type { Get } from '../content/get.ts'
import type { ReadAhead } from '../http/read-ahead.ts'
import type { ByteLru } from '../lib/lru.ts'
import type { HeaderList } from './headers.ts'
import type { MediaTypes } from './media-type.ts'
import type { RedirectRules } from './redirects.ts'
import type { ContentRequest } from './request.ts'

/** What is to be sent; nothing of it has been sent yet. The CORS and security headers come on top, in `send.ts`. */
export interface Reply {
  readonly status: number
  readonly headers: HeaderList
  readonly body: Body
  /** The name of its format, where that is not the first that the client asked for. */
  readonly format?: string
}

/**
 * `bytes` exactly, when it is known; then a source that gives less or more ends in a cut connection.
 * For HEAD the body is there, and not one block of it is read.
 */
export type Body =
  | { readonly kind: 'none' }
  | { readonly kind: 'whole'; readonly bytes: Uint8Array }
  | { readonly kind: 'stream'; readonly bytes: bigint | undefined; readonly source: AsyncIterable<Uint8Array> }

export const noBody: Body = Object.freeze({ kind: 'none' })

/** The request headers that content depends on. */
export interface Conditions {
  readonly accept: string | undefined
  readonly range: string | undefined
  readonly ifRange: string | undefined
  readonly ifNoneMatch: string | undefined
  readonly ifModifiedSince: string | undefined
}

/** One request on its way through `respond.ts` and the reply files. */
export interface Exchange {
  readonly request: ContentRequest
  readonly conditions: Conditions
  readonly head: boolean
  /** Aborts when the client leaves. */
  readonly signal: AbortSignal
  readonly services: Services
}

/** Made once for the gateway. */
export interface Services {
  readonly get: Get
  readonly limits: LimitConfig
  readonly mediaTypes: MediaTypes
  /** Listings as they were sent: of the same directory, seen from the same place, a page never changes. */
  readonly listings: ByteLru<Uint8Array>
  readonly readAhead: ReadAhead
  readonly redirects: RedirectRules
}
