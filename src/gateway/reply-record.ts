import { createHash } from 'node:crypto'
import type { IpnsName, IpnsResolver } from '../content/resolve-ipns.ts'
import { AppError } from '../errors.ts'
import { contentDisposition, type HeaderList, matchesEtag } from './headers.ts'
import { noBody, type Reply } from './reply.ts'
import type { Query } from './request.ts'

export const recordType = 'application/vnd.ipfs.ipns-record'

export interface RecordRequest {
  readonly name: IpnsName
  /** As of `IpnsQuestion`. */
  readonly below: string
  readonly query: Pick<Query, 'filename'>
  readonly ifNoneMatch: string | undefined
  /** The URL that gives the record, whatever Accept says; undefined = the one that was asked for. */
  readonly location: string | undefined
  readonly signal: AbortSignal
}

/** The signed record of a key, as it is: whoever gets it can verify it (IPIP-351). @throws AppError REQUEST_INVALID | IPNS_UNRESOLVED */
export async function recordReply(
  { name, below, query, ifNoneMatch, location, signal }: RecordRequest,
  resolver: Pick<IpnsResolver, 'record'>,
): Promise<Reply> {
  if (below !== '' && below !== '/') {
    throw new AppError('REQUEST_INVALID', 'an IPNS record belongs to /ipns/<key>, without a path below it')
  }
  if (name.kind !== 'key') {
    throw new AppError('REQUEST_INVALID', 'a domain name has no IPNS record', { hint: 'ask for the key it points to' })
  }
  const { bytes, maxAgeSeconds } = await resolver.record(name, { signal })
  const etag = `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}.ipns-record"`
  const headers: HeaderList = ['ETag', etag, 'Vary', 'Accept', 'X-Ipfs-Path', `/ipns/${name.name}`]
  headers.push('Ipfs-Uri', `ipns://${name.name}`)
  if (maxAgeSeconds !== undefined) headers.push('Cache-Control', `public, max-age=${maxAgeSeconds}`)
  if (matchesEtag(ifNoneMatch, etag)) return { status: 304, headers, body: noBody }
  if (location !== undefined) headers.push('Content-Location', location)
  headers.push('Content-Type', recordType, 'Content-Length', String(bytes.byteLength))
  headers.push('Content-Disposition', contentDisposition('attachment', query.filename ?? `${name.name}.ipns-record`))
  return { status: 200, headers, body: { kind: 'whole', bytes } }
}
