import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { AppError } from '../errors.ts'
import type { Auth, Principal } from './principal.ts'

/** Where the hashes of tokens are kept; the tokens themselves are not there. */
export interface TokenHashes {
  /** SHA-256 of the token in hex; undefined when there is none under this id. @throws AppError STORE_UNAVAILABLE */
  get(id: string): Promise<string | undefined>
  /** Stores the hash unless the id has one. @returns the hash that is there now */
  create(id: string, hash: string): Promise<string>
  set(id: string, hash: string): Promise<void>
}

/** `admin.token` in the data folder: the only place where the token itself is kept. */
export interface TokenFile {
  /** Undefined when there is no file; empty when it holds nothing that could be a token. */
  read(): Promise<string | undefined>
  write(token: string): Promise<void>
  remove(): Promise<void>
}

export const adminId = 'admin'
/** How soon a token that was replaced elsewhere stops working here. */
const refreshMs = 5_000

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex')

export const makeToken = (): string => `stw_${randomBytes(24).toString('base64url')}`

/** What the node found or did about the admin token when it started. */
export type AdminToken =
  | { readonly kind: 'made' | 'kept' | 'set'; readonly token: string }
  /** The file was empty, so nobody had the token: this one is valid in its place. */
  | { readonly kind: 'renewed'; readonly token: string }
  /** The store has a hash, made by another node or before this data folder: the token itself is not here. */
  | { readonly kind: 'elsewhere' }
  /** The file is empty, or holds another token than the valid one. */
  | { readonly kind: 'damaged' }

/**
 * Makes the admin token at the first start. Two nodes that start at once agree on one. Where the file is empty a new one is made,
 * but not over the token of other nodes, which may well know it.
 * @param given STOWAGE_TOKEN: replaces whatever was valid before
 * @param alone no other node has its token in these hashes: the server is our own
 */
export async function settleAdminToken(
  hashes: TokenHashes,
  given: string | undefined,
  file: TokenFile,
  alone: boolean,
): Promise<AdminToken> {
  const present = await hashes.get(adminId)
  const kept = await file.read()
  if (given !== undefined) {
    if (given !== kept) await file.write(given)
    if (hashOf(given) !== present) await hashes.set(adminId, hashOf(given))
    return { kind: 'set', token: given }
  }
  if (kept === '' && present !== undefined) return alone ? renew(hashes, file) : { kind: 'damaged' }
  if (kept === undefined && present !== undefined) return { kind: 'elsewhere' }
  const isNew = kept === undefined || kept === ''
  const token = isNew ? makeToken() : kept
  // The file first: a crash in between leaves a token that the next start takes, never one that nobody knows.
  if (isNew) await file.write(token)
  const hash = hashOf(token)
  if ((present ?? (await hashes.create(adminId, hash))) === hash) return { kind: isNew ? 'made' : 'kept', token }
  if (isNew) await file.remove()
  return { kind: alone ? 'damaged' : 'elsewhere' }
}

/** The hash first: a crash in between leaves the file empty, and the next start makes another one. */
async function renew(hashes: TokenHashes, file: TokenFile): Promise<AdminToken> {
  const token = makeToken()
  await hashes.set(adminId, hashOf(token))
  await file.write(token)
  return { kind: 'renewed', token }
}

/** The one principal of this stage: whoever holds the admin token. */
export function createAuth(hashes: TokenHashes): Auth {
  const admin: Principal = { name: adminId, kind: 'admin' }
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
      // Its bucket was deleted: whether this is the right one cannot be told, and is not denied for good.
      if (token !== undefined && expected === undefined) {
        throw new AppError('STORE_UNAVAILABLE', 'the token store holds no admin token', {
          hint: 'a node that knows it writes it again within seconds; else set STOWAGE_TOKEN and start the node again',
        })
      }
      throw new AppError('UNAUTHORIZED', 'this needs the admin token', {
        hint: 'send it as "Authorization: Bearer <token>"; it lies in admin.token in the data folder of the node',
      })
    },
  }
}
