import { createHash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import { base64UrlPadded } from '../nats/layout.ts'

const rawCodec = 0x55
const sha256Code = 0x12

/**
 * A block's name and nuid in its bucket: CIDv1 base32, codec raw, of its multihash. All spellings of a block's CID meet
 * in it, and `nats object get <bucket> <key>` works.
 */
export function blockKey(cid: CID): string {
  if (cid.version === 1 && cid.code === rawCodec) return cid.toString()
  return CID.createV1(rawCodec, cid.multihash).toString()
}

/** What ADR-20 keeps beside an object's chunks, as far as we read it. */
export interface ObjectMeta {
  readonly nuid: string
  readonly size: number
  readonly chunks: number
  readonly deleted: boolean
}

/** The meta of a block, in the Go client's field order, with a real mtime (the JS client reads it as it stands). */
export function encodeMeta(
  bucket: string,
  key: string,
  cid: CID,
  bytes: Uint8Array,
  chunks: number,
  chunkBytes: number,
): Buffer {
  const digest =
    cid.multihash.code === sha256Code && cid.multihash.digest.byteLength === 32
      ? cid.multihash.digest
      : createHash('sha256').update(bytes).digest()
  return Buffer.from(
    `{"name":"${key}","options":{"max_chunk_size":${chunkBytes}},"bucket":"${bucket}","nuid":"${key}",` +
      `"size":${bytes.byteLength},"mtime":"${new Date().toISOString()}","chunks":${chunks},` +
      `"digest":"SHA-256=${base64UrlPadded(digest)}"}`,
  )
}

/**
 * What stands in a meta's place once the block's bytes are gone: the deletion marker of ADR-20, as `nats object rm` leaves it. To
 * every client the object is not there, and can be put again; to us it is a block that was stored and is lost, since what we
 * delete ourselves leaves nothing.
 */
export function encodeLostMarker(bucket: string, key: string): Buffer {
  return Buffer.from(
    `{"name":"${key}","bucket":"${bucket}","nuid":"${key}","size":0,"mtime":"${new Date().toISOString()}",` +
      `"chunks":0,"deleted":true}`,
  )
}

/** Undefined for what is not an object's meta. */
export function decodeMeta(data: Uint8Array): ObjectMeta | undefined {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(data).toString('utf8'))
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { nuid, size, chunks, deleted } = value as Record<string, unknown>
  if (typeof nuid !== 'string' || typeof size !== 'number' || typeof chunks !== 'number') return undefined
  return { nuid, size, chunks, deleted: deleted === true }
}
