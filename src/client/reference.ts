import { AppError, isAppError } from '../errors.ts'
import type { CallOptions } from './client.ts'
import { type ClientPath, displayPath, isCid, parseContentPath } from './content-path.ts'
import type { IpnsClient } from './ipns.ts'
import type { NamesClient } from './names.ts'
import { checkSegment, segmentsOf } from './node-url.ts'

/** What a user typed, led back to a CID and the way below it. */
export interface Resolved {
  readonly path: ClientPath
  /** As a person reads it: the name where one was given. */
  readonly label: string
  /** What to call it on disk. */
  readonly fileName: string
}

/** A name has at most so many segments here, as at the gateway; the path below it may go on. */
const lookupsMax = 32

/** What leads from names to content. */
export interface Lookups {
  readonly names: Pick<NamesClient, 'get'>
  readonly ipns: Pick<IpnsClient, 'resolve'>
}

/**
 * `<cid>[/path]`, `/ipfs/…` and `ipfs://…` are content, `/ipns/…` is what a key or a domain name stands for now; all else is
 * a name and perhaps a way below it, and so is what follows `name:` or `/names/`. The longest name wins, as at the gateway:
 * `docs/a/b.txt` is that name, else `b.txt` in `docs/a`, else `a/b.txt` in `docs`.
 * @throws AppError CID_INVALID | PATH_INVALID | NAME_INVALID | NAME_NOT_FOUND | IPNS_UNRESOLVED
 */
export async function resolveReference(
  text: string,
  { names, ipns }: Lookups,
  options: CallOptions,
): Promise<Resolved> {
  checkNoDots(text)
  if (text.startsWith('/ipns/')) return await resolvePublished(text.slice('/ipns/'.length), ipns, options)
  const reference = nameReferenceOf(text)
  if (reference === undefined) {
    const path = parseContentPath(text)
    return { path, label: displayPath(path), fileName: path.segments.at(-1) ?? path.cid }
  }
  const segments = reference.split('/').filter((segment) => segment !== '')
  let invalid: AppError | undefined
  for (let length = Math.min(segments.length, lookupsMax); length > 0; length--) {
    const entry = await entryOf(segments.slice(0, length).join('/'), names, options)
    // What lies below a name may be called what no name can be.
    if (entry instanceof AppError) invalid ??= entry
    if (entry === undefined || entry instanceof AppError) continue
    const rest = segments.slice(length)
    const fileName = rest.at(-1) ?? entry.name.split('/').at(-1) ?? entry.cid
    const name = `${entry.name}@${entry.revision}`
    return { path: { cid: entry.cid, segments: rest, name }, label: segments.join('/'), fileName }
  }
  if (invalid !== undefined) throw invalid
  throw new AppError('NAME_NOT_FOUND', `${JSON.stringify(text)} is neither a CID nor a name`, {
    hint: 'see the names with `stowage names`',
  })
}

/** Before anything is looked up: a shorter name, with `..` below it, would be found. @throws AppError PATH_INVALID */
function checkNoDots(text: string): void {
  const segments = segmentsOf(text)
  for (const segment of segments) if (segment === '.' || segment === '..') checkSegment(segment, segments)
}

async function resolvePublished(below: string, ipns: Lookups['ipns'], options: CallOptions): Promise<Resolved> {
  const [name = '', ...segments] = below.split('/').filter((segment) => segment !== '')
  const path = parseContentPath([await ipns.resolve(name, options), ...segments].join('/'))
  return { path, label: ['/ipns', name, ...segments].join('/'), fileName: segments.at(-1) ?? name }
}

/** The name in it, or undefined for what is content. */
function nameReferenceOf(text: string): string | undefined {
  const forced = /^(?:name:|\/names\/)(.+)$/s.exec(text)?.[1]
  if (forced !== undefined) return forced
  if (/^(ipfs:\/\/|\/ipfs\/)/i.test(text)) return undefined
  const segments = text.split('/').filter((segment) => segment !== '')
  const [root = ''] = /^\/?ipfs\//i.test(text) ? segments.slice(1) : segments
  return root === '' || isCid(root) ? undefined : text
}

async function entryOf(reference: string, names: Pick<NamesClient, 'get'>, options: CallOptions) {
  try {
    return await names.get(reference, options)
  } catch (error) {
    if (isAppError(error, 'NAME_NOT_FOUND')) return undefined
    if (isAppError(error, 'NAME_INVALID')) return error
    throw error
  }
}
