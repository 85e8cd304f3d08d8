import { decode } from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'
import { checkCid } from '../blocks/block.ts'
import type { LimitConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import type { ByteReader } from '../lib/byte-reader.ts'

export type CarLimits = Pick<LimitConfig, 'carHeaderBytesMax' | 'carRootsMax' | 'carBlocksMax' | 'uploadBytesMax'>

export interface CarHeader {
  readonly version: 1 | 2
  /** As the header names them, repeats included. */
  readonly roots: readonly CID[]
  /** Offset in the stream where the last section ends; undefined = at the end of the stream (CARv1). */
  readonly dataEnd: number | undefined
}

/** What is wrong with the CAR, in one sentence. */
export function invalidCar(message: string, cause?: unknown): AppError {
  return new AppError('CAR_INVALID', message, cause === undefined ? {} : { cause })
}

/** Longest varint that fits a safe integer with room: 9 × 7 bits. */
const varintBytesMax = 9
/** CARv2: characteristics 16, data offset 8, data size 8, index offset 8; before it the pragma of 11 bytes. */
const v2HeaderBytes = 40
const pragmaBytes = 11

/**
 * Reads the header of a CARv1, or pragma, header and inner header of a CARv2 and the padding between them.
 * What claims too much is refused on its first bytes.
 * @see https://ipld.io/specs/transport/car/
 * @throws AppError CAR_INVALID; LIMIT_EXCEEDED for too many roots
 */
export async function readCarHeader(reader: ByteReader, limits: CarLimits): Promise<CarHeader> {
  const outer = await readHeaderBlock(reader, limits)
  if (outer.version === 1) return { version: 1, roots: outer.roots, dataEnd: undefined }
  if (reader.position !== pragmaBytes) throw invalidCar('the CARv2 pragma is malformed')
  const { dataOffset, dataSize } = await readV2Offsets(reader)
  if (!(await reader.skip(dataOffset - reader.position))) {
    throw invalidCar(`the CARv2 header places the data at byte ${dataOffset}, beyond the end`)
  }
  const inner = await readHeaderBlock(reader, limits)
  if (inner.version !== 1) throw invalidCar('the data of a CARv2 is not a CARv1')
  const dataEnd = dataOffset + dataSize
  if (reader.position > dataEnd) throw invalidCar('the CARv2 header gives a data size that its CARv1 header exceeds')
  return { version: 2, roots: inner.roots, dataEnd }
}

async function readV2Offsets(reader: ByteReader): Promise<{ dataOffset: number; dataSize: number }> {
  const bytes = await reader.take(v2HeaderBytes)
  if (bytes === undefined) throw invalidCar('the CARv2 header is cut short')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const [dataOffset, dataSize, indexOffset] = [16, 24, 32].map((at) => Number(view.getBigUint64(at, true)))
  if (dataOffset === undefined || dataSize === undefined || indexOffset === undefined) {
    throw invalidCar('the CARv2 header is cut short')
  }
  const dataEnd = dataOffset + dataSize
  if (!Number.isSafeInteger(dataEnd)) throw invalidCar('the CARv2 header gives offsets beyond any file')
  if (dataOffset < reader.position) throw invalidCar('the CARv2 header places the data inside itself')
  if (dataSize === 0) throw invalidCar('the CARv2 was never finished: its data size is 0')
  if (indexOffset !== 0 && indexOffset < dataEnd) throw invalidCar('the CARv2 header places the index inside the data')
  return { dataOffset, dataSize }
}

type HeaderBlock = { readonly version: 1; readonly roots: readonly CID[] } | { readonly version: 2 }

async function readHeaderBlock(reader: ByteReader, limits: CarLimits): Promise<HeaderBlock> {
  await reader.fill(varintBytesMax)
  const length = decodeVarint(reader.peek(varintBytesMax))
  if (length === undefined) throw invalidCar('the stream does not start with a CAR header')
  await reader.skip(length.bytes)
  if (length.value === 0) throw invalidCar('the CAR header is empty')
  await refuseManyRoots(reader, limits.carRootsMax)
  if (length.value > limits.carHeaderBytesMax) {
    const bound = limits.carHeaderBytesMax
    throw new AppError('CAR_INVALID', `the CAR header claims ${length.value} bytes; the limit is ${bound}`, {
      limit: 'car_header_bytes',
    })
  }
  const bytes = await reader.take(length.value)
  if (bytes === undefined) throw invalidCar('the CAR header is cut short')
  return checkHeader(decodeCbor(bytes), limits.carRootsMax)
}

/**
 * The canonical header starts with its roots: map of 2, "roots", array of n. So a header of too many roots is known by its
 * first 12 bytes, before the rest has been read.
 */
async function refuseManyRoots(reader: ByteReader, rootsMax: number): Promise<void> {
  await reader.fill(rootsPrefix.byteLength + 5)
  const bytes = Buffer.from(reader.peek(rootsPrefix.byteLength + 5))
  if (!bytes.subarray(0, rootsPrefix.byteLength).equals(rootsPrefix)) return
  const [kind, ...count] = bytes.subarray(rootsPrefix.byteLength)
  const countBytes = kind === 0x98 ? 1 : kind === 0x99 ? 2 : kind === 0x9a ? 4 : 0
  const roots = count.slice(0, countBytes).reduce((sum, byte) => sum * 256 + byte, 0)
  if (roots > rootsMax) throw tooManyRoots(roots, rootsMax)
}

const rootsPrefix = Buffer.from('a265726f6f7473', 'hex')

function tooManyRoots(roots: number, rootsMax: number): AppError {
  return new AppError('LIMIT_EXCEEDED', `the CAR names ${roots} roots; the limit is ${rootsMax}`, {
    limit: 'car_roots',
  })
}

function decodeCbor(bytes: Uint8Array): unknown {
  try {
    return decode(bytes)
  } catch (cause) {
    throw invalidCar('the CAR header is not DAG-CBOR', cause)
  }
}

function checkHeader(header: unknown, rootsMax: number): HeaderBlock {
  if (typeof header !== 'object' || header === null || Array.isArray(header))
    throw invalidCar('the CAR header is no map')
  const { version, roots, ...others } = header as Readonly<Record<string, unknown>>
  const [other] = Object.keys(others)
  if (other !== undefined) throw invalidCar(`the CAR header has the unknown key ${JSON.stringify(other)}`)
  if (version === 2 && roots === undefined) return { version }
  if (version !== 1) throw invalidCar('the CAR header names no version that exists (1 or 2)')
  if (!Array.isArray(roots)) throw invalidCar('the roots of the CAR header are no list')
  if (roots.length > rootsMax) throw tooManyRoots(roots.length, rootsMax)
  return { version, roots: roots.map(checkRoot) }
}

function checkRoot(root: unknown): CID {
  const cid = CID.asCID(root)
  if (cid === null) throw invalidCar('the roots of the CAR header are not all CIDs')
  try {
    checkCid(cid)
  } catch (cause) {
    throw invalidCar(`root ${cid}: ${cause instanceof AppError ? cause.message : 'not a CID that we serve'}`, cause)
  }
  return cid
}

/** Unsigned varint (multiformats). @returns undefined when it is cut short, too long or beyond 2^53 - 1 */
export function decodeVarint(bytes: Uint8Array): { readonly value: number; readonly bytes: number } | undefined {
  let value = 0
  let factor = 1
  for (let index = 0; index < varintBytesMax; index++) {
    const byte = bytes[index]
    if (byte === undefined) return undefined
    value += (byte & 0x7f) * factor
    if (byte < 0x80) return Number.isSafeInteger(value) ? { value, bytes: index + 1 } : undefined
    factor *= 128
  }
  return undefined
}
