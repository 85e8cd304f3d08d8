import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { AppError } from '../errors.ts'
import type { Auth, Principal } from './principal.ts'

/** Where the hashes of tokens are kept; the tokens themselves are kept nowhere. */
export interface TokenHashes {
  /** SHA-256 of the token in hex; undefined when there is none under this id. @throws AppError STORE_UNAVAILABLE */
  get(id: string): Promise<string | undefined>
  /** Stores the hash unless the id has one. @returns the hash that is there now */
  create(id: string, hash: string): Promise<string>
  set(id: string, hash: string): Promise<void>
}

export const adminId = 'admin'
/** How soon a token that was replaced elsewhere stops working here. */
const refreshMs = 5_000

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex')

export const makeToken = (): string => `stw_${randomBytes(24).toString('base64url')}`

/** What the node found or did about the admin token when it started. */
export type AdminToken =
  | { readonly kind: 'made' | 'kept' | 'set'; readonly token: string }
  /** The store has a hash, made by another node or before this data folder: the token itself is not here. */
  | { readonly kind: 'elsewhere' }

/**
 * Makes the admin token at the first start. Two nodes that start at once agree on one.
 * @param given STOWAGE_TOKEN: replaces whatever was valid before
 * @param kept the token in this node's data folder
 */
export async function settleAdminToken(
  hashes: TokenHashes,
  given: string | undefined,
  kept: string | undefined,
): Promise<AdminToken> {
  if (given !== undefined) {
    await hashes.set(adminId, hashOf(given))
    return { kind: 'set', token: given }
  }
  const token = kept ?? makeToken()
  const hash = hashOf(token)
  if ((await hashes.create(adminId, hash)) !== hash) return { kind: 'elsewhere' }
  return { kind: kept === undefined ? 'made' : 'kept', token }
}

/** The one principal of this stage: whoever holds the admin token. */
export function createAuth(hashes: TokenHashes): Auth {
  const admin: Principal = { name: adminId }
  let known: { readonly hash: Buffer | undefined; readonly untilMs: number } | undefined
  const current = async (): Promise<Buffer | undefined> => {
    if (known === undefined || known.untilMs < performance.now()) {
      const hash = await hashes.get(adminId)
      known = { hash: hash === undefined ? undefined : Buffer.from(hash), untilMs: performance.now() + refreshMs }
    }
    return known.hash
  }
  return {
    authenticate: async (authorization) => {
      const token = /^Bearer +([^\s]+) *$/i.exec(authorization ?? '')?.[1]
      const expected = await current()
      // Hashes are compared, of equal length whatever was sent, in constant time.
      const given = Buffer.from(hashOf(token ?? ''))
      if (token !== undefined && expected !== undefined && timingSafeEqual(given, expected)) return admin
      throw new AppError('UNAUTHORIZED', 'this needs the admin token', {
        hint: 'send it as "Authorization: Bearer <token>"; it lies in admin.token in the data folder of the node',
      })
    },
  }
}
