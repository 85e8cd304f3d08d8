import { AppError } from '../errors.ts'
import type { UnixTime } from '../lib/unix-time.ts'
import { dagPbCode, decodeDagPb, PbLinks, type PbNode } from './dag-pb.ts'
import { ProtobufReader } from './protobuf.ts'

/** The Data message of a UnixFS node, by https://specs.ipfs.tech/unixfs/. */
export interface Unixfs {
  readonly type: UnixfsType
  readonly data: Uint8Array
  /** Content bytes below each link of a file. */
  readonly blockSizes: readonly bigint[]
  /** Content bytes of a file: proven to be the sum of its data and block sizes. */
  readonly size: bigint
  readonly hashType: bigint | undefined
  readonly fanout: bigint | undefined
  readonly mode: number | undefined
  readonly mtime: UnixTime | undefined
}

const types = ['raw', 'directory', 'file', 'metadata', 'symlink', 'hamt'] as const
export type UnixfsType = (typeof types)[number]

/**
 * Reads and checks the UnixFS data of a dag-pb node, which ipfs-unixfs cannot do: it drops filesize and hashType, takes a
 * missing Type for a file, and lets the last of repeated fields win. Fields that we do not know are skipped: mode and mtime
 * came that way too.
 * @throws AppError DAG_INVALID
 */
export function decodeUnixfs(node: PbNode): Unixfs {
  let unixfs: Unixfs
  try {
    unixfs = readData(node.data ?? new Uint8Array())
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown reason'
    throw new AppError('DAG_INVALID', `the node is not valid UnixFS: ${why}`, { cause })
  }
  if (unixfs.type === 'file' || unixfs.type === 'raw') checkFileLinks(unixfs, node.links)
  return unixfs
}

/** Whether the data of a dag-pb node is meant as UnixFS, in order or not: protobuf with a Type. */
export function isUnixfs(data: Uint8Array): boolean {
  const reader = new ProtobufReader(data)
  try {
    while (!reader.done) {
      const tag = reader.varint()
      if (tag === 0x08) return true
      reader.skip(tag & 7)
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
  }
  return false
}

function checkFileLinks(unixfs: Unixfs, links: PbLinks): void {
  if (unixfs.blockSizes.length !== links.count) {
    throw new AppError(
      'DAG_INVALID',
      `a file node has ${links.count} links and ${unixfs.blockSizes.length} blocksizes: where its content lies cannot be told`,
    )
  }
  for (let index = 0; index < links.count; index++) {
    if (links.hasName(index)) throw new AppError('DAG_INVALID', 'a chunk of a file has a name')
  }
}

function readData(bytes: Uint8Array): Unixfs {
  const reader = new ProtobufReader(bytes)
  const once = new Set<number>()
  const blockSizes: bigint[] = []
  let type: UnixfsType | undefined
  let data = new Uint8Array() as Uint8Array
  let fileSize: bigint | undefined
  let hashType: bigint | undefined
  let fanout: bigint | undefined
  let mode: number | undefined
  let mtime: Unixfs['mtime']
  while (!reader.done) {
    const tag = reader.varint()
    if (tag === 0x20) {
      blockSizes.push(reader.uint64())
      continue
    }
    if (tag === 0x22) {
      readPacked(reader.field(), blockSizes)
      continue
    }
    if (once.has(tag)) throw new RangeError(`field ${tag >>> 3} twice`)
    once.add(tag)
    if (tag === 0x08) type = types[reader.varint()]
    else if (tag === 0x12) data = reader.field()
    else if (tag === 0x18) fileSize = reader.uint64()
    else if (tag === 0x28) hashType = reader.uint64()
    else if (tag === 0x30) fanout = reader.uint64()
    else if (tag === 0x38) mode = Number(reader.uint64() & 0xfffn)
    else if (tag === 0x42) mtime = readTime(reader.field())
    else if (tag >>> 3 >= 1 && tag >>> 3 <= 8) throw new RangeError(`field ${tag >>> 3} with a wrong wire type`)
    else reader.skip(tag & 7)
  }
  if (type === undefined) throw new RangeError('no known Type')
  const size = contentSize(type, data, blockSizes)
  if (fileSize !== undefined && (type === 'file' || type === 'raw') && fileSize !== size) {
    throw new RangeError(`filesize ${fileSize} where data and blocksizes make ${size}`)
  }
  return { type, data, blockSizes, size, hashType, fanout, mode, mtime }
}

function contentSize(type: UnixfsType, data: Uint8Array, blockSizes: readonly bigint[]): bigint {
  if (type === 'directory' || type === 'hamt') return 0n
  let size = BigInt(data.byteLength)
  for (const blockSize of blockSizes) size += blockSize
  if (size >= 1n << 64n) throw new RangeError('the blocksizes add up to more than 2^64')
  return size
}

function readPacked(field: Uint8Array, blockSizes: bigint[]): void {
  const reader = new ProtobufReader(field)
  while (!reader.done) blockSizes.push(reader.uint64())
}

function readTime(field: Uint8Array): UnixTime {
  const reader = new ProtobufReader(field)
  let secs: bigint | undefined
  let nsecs = 0
  while (!reader.done) {
    const tag = reader.varint()
    if (tag === 0x08) secs = BigInt.asIntN(64, reader.uint64())
    else if (tag === 0x15) nsecs = reader.fixed32()
    else reader.skip(tag & 7)
  }
  if (secs === undefined || nsecs > 999_999_999) throw new RangeError('mtime is malformed')
  return { secs, nsecs }
}

/** A block as a part of a file: its own bytes, then those below its links. */
export interface FileNode {
  readonly data: Uint8Array
  readonly links: PbLinks
  readonly blockSizes: readonly bigint[]
  readonly size: bigint
}

const noLinks = new PbLinks(new Uint8Array(), [])

export function rawFile(bytes: Uint8Array): FileNode {
  return { data: bytes, links: noLinks, blockSizes: [], size: BigInt(bytes.byteLength) }
}

/** @throws AppError DAG_INVALID when the block cannot be part of a file */
export function decodeFileNode(codec: number, bytes: Uint8Array, limits: { readonly nodeLinksMax: number }): FileNode {
  if (codec === 0x55) return rawFile(bytes)
  if (codec !== dagPbCode) throw new AppError('DAG_INVALID', `a file links to a block of codec 0x${codec.toString(16)}`)
  const node = decodeDagPb(bytes, limits)
  const unixfs = decodeUnixfs(node)
  if (unixfs.type !== 'file' && unixfs.type !== 'raw') {
    throw new AppError('DAG_INVALID', `a file links to a node of type ${unixfs.type}`)
  }
  return { data: unixfs.data, links: node.links, blockSizes: unixfs.blockSizes, size: unixfs.size }
}
