import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import type { Reach } from '../lib/crash-point.ts'
import type { PutResult, PutWays } from './put.ts'
import type { Upload } from './verbs.ts'

/** What an upload came to; only a CAR can have no root. */
export type Stored = PutResult<CID | undefined>

/** Hands an upload of any kind to the store, or to what only looks at it. */
export async function storeUpload(put: PutWays, upload: Upload, signal: AbortSignal, reach: Reach): Promise<Stored> {
  const result = await stored(put, upload, signal, reach)
  await upload.verify?.()
  return result
}

function stored(put: PutWays, upload: Upload, signal: AbortSignal, reach: Reach): Promise<Stored> {
  switch (upload.kind) {
    case 'file':
      return put.file(watched(upload.source, reach), upload.options)
    case 'directory':
      return put.directory(watched(upload.entries, reach), upload.options)
    case 'car':
      return put.car(watched(upload.source, reach), { signal, partial: upload.partial === true })
  }
}

async function* watched<T>(source: AsyncIterable<T>, reach: Reach): AsyncGenerator<T> {
  let first = true
  for await (const item of source) {
    if (first) reach('put-first-byte')
    first = false
    yield item
  }
}

/** `bytesDigest` is that of a partial CAR that has been read, in base64url; undefined for all else, whose root says what it is. */
export function digested(upload: Upload): { readonly upload: Upload; readonly bytesDigest: () => string | undefined } {
  if (upload.kind !== 'car' || upload.partial !== true) return { upload, bytesDigest: () => undefined }
  const hash = createHash('sha256')
  let digest: string | undefined
  return {
    upload: { ...upload, source: passing(upload.source, (chunk) => hash.update(chunk)) },
    bytesDigest: () => {
      digest ??= hash.digest('base64url')
      return digest
    },
  }
}

async function* passing<T>(source: AsyncIterable<T>, see: (item: T) => unknown): AsyncGenerator<T> {
  for await (const item of source) {
    see(item)
    yield item
  }
}
