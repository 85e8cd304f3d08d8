import { type ContentPath, type Get, parseContentPath, type Target } from '../content/get.ts'
import type { IsDeleted, NameEntry, Verbs } from '../content/verbs.ts'
import { AppError, isAppError } from '../errors.ts'
import { argument, plainText, type Request } from './request.ts'

/** What a request is about: content below a CID, or below what a name stands for. */
export type Reference =
  | { readonly kind: 'cid'; readonly path: ContentPath }
  | { readonly kind: 'name'; readonly name: string; readonly segments: readonly string[] }
  /** A key or a domain name, as it stands after `/ipns/`. */
  | { readonly kind: 'ipns'; readonly name: string; readonly segments: readonly string[] }

export interface ReferenceLimits {
  readonly pathSegmentsMax: number
}

export interface Resolved {
  readonly path: ContentPath
  /** The entry of the name that led there. */
  readonly entry: NameEntry | undefined
}

/**
 * Text that starts with a CID is a path from it, `/ipns/…` is an IPNS name, all else is a name: `bafy…/a.txt`, `docs/a.txt`, `docs/a.txt@7`. `name:` and
 * `cid:` before it say which is meant. Nothing is percent-encoded here. JSON says `name` or `cid`, and `path` below it.
 * @throws AppError REQUEST_INVALID | CID_INVALID | PATH_INVALID
 */
export function referenceOf(request: Request, limits: ReferenceLimits): Reference {
  const below = argument(request, 'path')
  const segments = below === undefined || below === '' ? [] : below.split('/')
  const given = (['ref', 'cid', 'name'] as const).flatMap((field) => {
    // A name among the headers of a plain request would be one too many with the body.
    const text = field === 'ref' ? (plainText(request) ?? argument(request, field)) : argument(request, field)
    return text === undefined ? [] : [{ field, text }]
  })
  const [only] = given
  if (only === undefined) throw new AppError('REQUEST_INVALID', 'the request names no content', { hint })
  if (given.length > 1) throw new AppError('REQUEST_INVALID', 'the request names its content twice', { hint })
  const { field, text } = only
  if (field === 'cid' || text.startsWith('cid:')) {
    return { kind: 'cid', path: cidPath(field === 'cid' ? text : text.slice(4), segments, limits) }
  }
  if (field === 'name' || text.startsWith('name:')) {
    return { kind: 'name', name: field === 'name' ? text : text.slice(5), segments }
  }
  if (text.startsWith('/ipns/')) return ipnsReference(text, segments)
  try {
    return { kind: 'cid', path: cidPath(text.replace(/^\/ipfs\//, ''), segments, limits) }
  } catch (error) {
    if (!isAppError(error, 'CID_INVALID') || text.startsWith('/ipfs/')) throw error
    return { kind: 'name', name: text, segments }
  }
}

const hint = 'send a CID, a path from one, or a name, as the body'

function ipnsReference(text: string, below: readonly string[]): Reference {
  const [name = '', ...segments] = text.slice('/ipns/'.length).replace(/\/$/, '').split('/')
  return { kind: 'ipns', name, segments: [...segments, ...below] }
}

/** What leads from names to content. */
export interface NameVerbs extends Pick<Verbs, 'resolveName'> {
  /** @throws AppError NAME_INVALID | IPNS_UNRESOLVED | PATH_INVALID */
  resolveIpns?(name: string, options: { readonly signal: AbortSignal }): Promise<ContentPath>
}

/** Segments are text here; the parser of URLs decodes what it gets, so they are encoded for it. */
function cidPath(text: string, below: readonly string[], limits: ReferenceLimits): ContentPath {
  const [root = '', ...segments] = text.replace(/\/$/, '').split('/')
  return parseContentPath([root, ...[...segments, ...below].map(encode)].join('/'), limits).path
}

function encode(segment: string): string {
  if (!segment.isWellFormed()) throw new AppError('PATH_INVALID', 'the path is not valid Unicode')
  return encodeURIComponent(segment)
}

/** @throws AppError NAME_INVALID | NAME_NOT_FOUND | IPNS_UNRESOLVED | PATH_INVALID */
export async function resolve(
  reference: Reference,
  verbs: NameVerbs,
  limits: ReferenceLimits,
  signal: AbortSignal,
): Promise<Resolved> {
  if (reference.kind === 'cid') return { path: reference.path, entry: undefined }
  if (reference.kind === 'ipns') {
    const path = await verbs.resolveIpns?.(reference.name, { signal })
    if (path === undefined) throw new AppError('IPNS_UNRESOLVED', 'nothing is published by name here')
    return { path: cidPath(String(path.root), [...path.segments, ...reference.segments], limits), entry: undefined }
  }
  const entry = await verbs.resolveName(reference.name, { signal })
  return { path: cidPath(entry.cid, reference.segments, limits), entry }
}

export interface Opened extends Resolved {
  readonly target: Target
}

export interface OpenParts {
  readonly get: Pick<Get, 'open'>
  readonly verbs: NameVerbs
  /** The root was taken out of view. */
  readonly isDeleted: IsDeleted
  readonly limits: ReferenceLimits
}

export async function openReference(request: Request, parts: OpenParts, signal: AbortSignal): Promise<Opened> {
  const resolved = await resolve(referenceOf(request, parts.limits), parts.verbs, parts.limits, signal)
  return openResolved(resolved, parts, signal)
}

/** @throws AppError OBJECT_DELETED and what `get.open` throws */
export async function openResolved(resolved: Resolved, parts: OpenParts, signal: AbortSignal): Promise<Opened> {
  const { root } = resolved.path
  if (await parts.isDeleted(root, { signal })) throw new AppError('OBJECT_DELETED', `${root} was deleted`)
  return { ...resolved, target: await parts.get.open(resolved.path, { signal }) }
}
