import { AppError } from '../errors.ts'
import { peekBytes } from '../lib/streams.ts'

/** The CARv2 pragma, and a CARv1 header behind its length: a map of two whose first key is `roots`, or `version`. */
const pragma = Buffer.from('0aa16776657273696f6e02', 'hex')
const mapsOfV1 = ['a265726f6f7473', 'a26776657273696f6e'].map((hex) => Buffer.from(hex, 'hex'))
/** Of a length of so many bytes the header has long been refused. */
const lengthBytesMax = 4
const startBytes = Math.max(pragma.byteLength, lengthBytesMax + 9)

/**
 * `body`, unless it is a CAR: no text starts like one, so whoever sends it as text has lost its type on the way, and would get
 * the CID of a file that nobody wants.
 * @throws AppError MEDIA_TYPE_UNSUPPORTED, before the first byte is given
 */
export async function* refuseCar(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { start, whole } = await peekBytes(body, startBytes)
  if (startsLikeCar(start)) {
    throw new AppError('MEDIA_TYPE_UNSUPPORTED', 'the Content-Type says text, and the body is a CAR', {
      hint: 'send it as application/vnd.ipld.car, or as application/octet-stream to store the file itself',
    })
  }
  yield* whole
}

function startsLikeCar(start: Buffer): boolean {
  if (start.subarray(0, pragma.byteLength).equals(pragma)) return true
  const length = start.findIndex((byte) => byte < 0x80) + 1
  if (length === 0 || length > lengthBytesMax) return false
  return mapsOfV1.some((map) => start.subarray(length, length + map.byteLength).equals(map))
}
