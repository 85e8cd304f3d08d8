import { CID } from 'multiformats/cid'
import { checkCid, identityBytesMax } from '../blocks/block.ts'
import { type Abortable, blockBytesMax } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'
import { ByteReader } from '../lib/byte-reader.ts'
import { type CarHeader, type CarLimits, decodeVarint, invalidCar, readCarHeader } from './car-header.ts'

/** One block as the CAR gives it: nothing is known of its bytes yet. */
export interface CarSection {
  readonly cid: CID
  readonly bytes: Uint8Array
}

export interface CarReader {
  readonly header: CarHeader
  /** The sections in stored order; once. They end when the whole stream, a CARv2's index included, has been read. */
  readonly sections: AsyncGenerator<CarSection>
  /** Lets go of the source. */
  close(): Promise<void>
}

/** Of a block's CID; that of an identity CID is the longest. */
const digestBytesMax = identityBytesMax
/** A section's length and CID: varint of <= 9 bytes, and a CID of four such and a digest. */
const prefixBytesMax = 9 + 4 * 9 + digestBytesMax
const cidBytesMax = prefixBytesMax - 9

/**
 * Reads a CARv1 or CARv2 as a stream and checks everything that can be checked without hashing. The memory it takes is
 * one section (block of 2 MiB and its CID) and one chunk of the source, whatever lengths are claimed.
 * The index of a CARv2 is read over: it could only lie.
 * @throws AppError CAR_INVALID, naming the block (the first is 1); BLOCK_TOO_LARGE, LIMIT_EXCEEDED, UPLOAD_TOO_LARGE
 */
export async function openCar(
  source: AsyncIterable<Uint8Array>,
  options: Abortable & { readonly limits: CarLimits },
): Promise<CarReader> {
  const { limits, signal } = options
  const reader = new ByteReader(bounded(source, limits.uploadBytesMax), signal)
  try {
    const header = await readCarHeader(reader, limits)
    return { header, sections: readSections(reader, header, limits), close: () => reader.close() }
  } catch (error) {
    await reader.close()
    throw error
  }
}

async function* readSections(reader: ByteReader, header: CarHeader, limits: CarLimits): AsyncGenerator<CarSection> {
  const dataEnd = header.dataEnd ?? Number.POSITIVE_INFINITY
  for (let block = 1; reader.position < dataEnd; block++) {
    if (reader.available < prefixBytesMax) await reader.fill(prefixBytesMax)
    if (reader.available === 0 && header.dataEnd === undefined) return
    if (block > limits.carBlocksMax) {
      throw new AppError('LIMIT_EXCEEDED', `the CAR has more than ${limits.carBlocksMax} blocks`, {
        limit: 'car_blocks',
      })
    }
    const { cid, bytes, prefixBytes } = readPrefix(reader.peek(prefixBytesMax), block)
    if (reader.position + prefixBytes + bytes > dataEnd) {
      throw invalidCar(`block ${block} goes beyond the data size of the CARv2 header`)
    }
    await reader.skip(prefixBytes)
    const taken = await reader.take(bytes)
    if (taken === undefined) throw invalidCar(`the CAR ends in the middle of block ${block}`)
    yield { cid, bytes: taken }
  }
  while (await reader.skip(reader.available + 1));
}

/** What comes before a block's bytes. `bytes` is the length of the block itself. */
function readPrefix(prefix: Uint8Array, block: number): { cid: CID; bytes: number; prefixBytes: number } {
  const section = decodeVarint(prefix)
  if (section === undefined) throw invalidCar(`block ${block} has no valid length`)
  if (section.value === 0) throw invalidCar(`block ${block} has length 0`)
  if (section.value > blockBytesMax + cidBytesMax) throw tooLarge(block, section.value)
  const cidBytes = cidLength(prefix.subarray(section.bytes), section.value, block)
  const bytes = section.value - cidBytes
  if (bytes > blockBytesMax) throw tooLarge(block, bytes)
  // A copy: the CID must not keep the chunk alive that it came in.
  const cid = decodeCid(Uint8Array.from(prefix.subarray(section.bytes, section.bytes + cidBytes)), block)
  return { cid, bytes, prefixBytes: section.bytes + cidBytes }
}

function tooLarge(block: number, bytes: number): AppError {
  return new AppError(
    'BLOCK_TOO_LARGE',
    `block ${block} of the CAR has ${bytes} bytes; the limit is ${blockBytesMax}`,
    {
      hint: 'write the CAR again with smaller chunks',
    },
  )
}

function cidLength(bytes: Uint8Array, sectionBytes: number, block: number): number {
  let inspected: ReturnType<typeof CID.inspectBytes>
  try {
    inspected = CID.inspectBytes(bytes)
  } catch (cause) {
    throw invalidCar(`block ${block} has no valid CID`, cause)
  }
  const { size, digestSize, version } = inspected
  if (size > sectionBytes) throw invalidCar(`block ${block} is shorter than its CID`)
  if (digestSize > digestBytesMax)
    throw invalidCar(`block ${block} has a CID with a digest of ${digestSize} bytes; the limit is ${digestBytesMax}`)
  // A CIDv0 is a bare sha2-256 multihash: 0x12, 32, digest.
  if (version === 0 && (bytes[0] !== 0x12 || digestSize !== 32)) throw invalidCar(`block ${block} has no valid CID`)
  if (size > bytes.byteLength) throw invalidCar(`the CAR ends in the CID of block ${block}`)
  return size
}

function decodeCid(bytes: Uint8Array, block: number): CID {
  try {
    const cid = CID.decode(bytes)
    checkCid(cid)
    return cid
  } catch (cause) {
    throw invalidCar(`block ${block}: ${cause instanceof AppError ? cause.message : 'no valid CID'}`, cause)
  }
}

async function* bounded(source: AsyncIterable<Uint8Array>, bytesMax: number): AsyncGenerator<Uint8Array> {
  let bytes = 0
  for await (const chunk of source) {
    bytes += chunk.byteLength
    if (bytes > bytesMax)
      throw new AppError('UPLOAD_TOO_LARGE', `the CAR is larger than ${bytesMax} bytes`, { limit: 'upload_bytes' })
    yield chunk
  }
}
