import type { FastifyRequest } from 'fastify'
import { contentDigests } from '../lib/content-digests.ts'
import { headerOf } from './body-headers.ts'
import { type UploadBodyOptions, uploadBody } from './upload-body.ts'

export interface CheckedBody {
  /** As `uploadBody`; at its end it throws when it is not what the headers say. */
  readonly content: AsyncIterable<Uint8Array>
  /** Reads what is left of it, where the headers say what all of it hashes to: not every reader of a body goes to its end. */
  verify(): Promise<void>
}

/**
 * The body of a request, held against its `Content-MD5`, `Digest`, `Content-Digest` and `Repr-Digest`, before or behind it.
 * @throws AppError REQUEST_INVALID for one of these that cannot be read; DIGEST_MISMATCH at the end
 */
export function checkedBody(request: FastifyRequest, options: UploadBodyOptions): CheckedBody {
  const digests = contentDigests(headerOf(request))
  if (digests === undefined) return { content: uploadBody(request.raw, options), verify: async () => undefined }
  let checked = false
  async function* read(): AsyncGenerator<Uint8Array> {
    for await (const chunk of uploadBody(request.raw, options)) {
      digests?.update(chunk)
      yield chunk
    }
    if (checked) return
    checked = true
    const { trailers } = request.raw
    digests?.check((name) => trailers[name])
  }
  return {
    content: read(),
    verify: async () => {
      const rest = read()
      while ((await rest.next()).done !== true);
    },
  }
}
