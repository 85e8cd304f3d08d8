import { base16, base16upper } from 'multiformats/bases/base16'
import { base32, base32upper } from 'multiformats/bases/base32'
import { base36, base36upper } from 'multiformats/bases/base36'
import { base58btc, base58flickr } from 'multiformats/bases/base58'
import { base64, base64url } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'
import { AppError } from '../errors.ts'
import { checkSegment, segmentsOf } from './node-url.ts'

const anyBase = base58btc.decoder
  .or(base32.decoder)
  .or(base36.decoder)
  .or(base16.decoder)
  .or(base16upper.decoder)
  .or(base32upper.decoder)
  .or(base36upper.decoder)
  .or(base58flickr.decoder)
  .or(base64.decoder)
  .or(base64url.decoder)

/** What a user names: a root and the way below it, decoded. */
export interface ClientPath {
  readonly cid: string
  readonly segments: readonly string[]
  /** The name that led to the root, with its revision (`docs/a.txt@17`): all is read by it, so that the read log has it. */
  readonly name?: string | undefined
}

/**
 * `<cid>`, `<cid>/a/b`, `/ipfs/<cid>/a/b` and `ipfs://<cid>/a`. Only the last is a URL, so only there is `%20` a space;
 * elsewhere a segment is taken as it is typed.
 * @throws AppError CID_INVALID | PATH_INVALID
 */
export function parseContentPath(text: string): ClientPath {
  const isUrl = /^ipfs:\/\//i.test(text)
  const rest = text.replace(/^ipfs:\/\/|^\/?ipfs\//i, '')
  const [root = '', ...segments] = (isUrl ? rest.replace(/[?#].*$/s, '') : rest)
    .split('/')
    .filter((part) => part !== '')
  if (!isCid(root)) {
    throw new AppError('CID_INVALID', `not a CID: ${JSON.stringify(root === '' ? text : root)}`, {
      hint: 'give <cid>, <cid>/path, /ipfs/<cid>/path or ipfs://<cid>/path',
    })
  }
  const decoded = isUrl ? segments.map((segment) => decodeSegment(segment, text)) : segments
  for (const segment of decoded) {
    if (segment.includes('/')) {
      throw new AppError('PATH_INVALID', `a path may not hold the segment ${JSON.stringify(segment)}`)
    }
    checkSegment(segment, [root, ...decoded])
  }
  return { cid: root, segments: decoded }
}

/** Its segments below the gateway's URL: `ipfs/…`, or `names/…` where a name led there. */
export function gatewayPath({ cid, segments, name }: ClientPath): readonly string[] {
  return [...(name === undefined ? ['ipfs', cid] : ['names', ...segmentsOf(name)]), ...segments]
}

/** As a person reads it: `<cid>/a/b`. */
export function displayPath(path: ClientPath): string {
  return [path.cid, ...path.segments].join('/')
}

export function isCid(text: string): boolean {
  try {
    CID.parse(text, anyBase)
    return true
  } catch {
    return false
  }
}

function decodeSegment(segment: string, text: string): string {
  try {
    return decodeURIComponent(segment)
  } catch (cause) {
    throw new AppError('PATH_INVALID', `not a valid URL: ${text}`, { cause })
  }
}
