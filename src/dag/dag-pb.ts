import { CID } from 'multiformats/cid'
import { AppError } from '../errors.ts'
import { ProtobufReader } from './protobuf.ts'

export const dagPbCode = 0x70

export interface PbNode {
  readonly data: Uint8Array | undefined
  readonly links: PbLinks
}

/** Numbers kept for each link: start and end of its hash and of its name, start of its Tsize; -1 = absent. */
const stride = 5

/**
 * The links of a node as positions in its block. A CID and a string come to be only when asked for: a node of 16,384 links
 * costs its own bytes and 640 KiB, where a list of objects costs 10 MiB, and names stay the bytes that they are.
 */
export class PbLinks {
  readonly #bytes: Uint8Array
  readonly #positions: readonly number[]
  readonly count: number

  constructor(bytes: Uint8Array, positions: readonly number[]) {
    this.#bytes = bytes
    this.#positions = positions
    this.count = positions.length / stride
  }

  /** Length of the block that they are views of. */
  get blockBytes(): number {
    return this.#bytes.byteLength
  }

  cid(index: number): CID {
    return CID.decode(this.#bytes.slice(this.#at(index, 0), this.#at(index, 1)))
  }

  /** Multicodec code of the linked block, without making its CID. */
  codec(index: number): number {
    const start = this.#at(index, 0)
    const first = this.#bytes[start]
    const second = this.#bytes[start + 1] ?? 0
    if (first === 0x12) return dagPbCode
    return second < 0x80 ? second : this.cid(index).code
  }

  nameBytes(index: number): Uint8Array {
    const start = this.#at(index, 2)
    return start < 0 ? new Uint8Array() : this.#bytes.subarray(start, this.#at(index, 3))
  }

  /** For showing: bytes that are no UTF-8 become U+FFFD. */
  name(index: number): string {
    return Buffer.from(this.nameBytes(index)).toString('utf8')
  }

  hasName(index: number): boolean {
    return this.#at(index, 2) >= 0 && this.#at(index, 3) > this.#at(index, 2)
  }

  /** As the writer claimed; undefined where absent. */
  dagBytes(index: number): bigint | undefined {
    const start = this.#at(index, 4)
    return start < 0 ? undefined : new ProtobufReader(this.#bytes, start).uint64()
  }

  #at(index: number, offset: number): number {
    const position = this.#positions[index * stride + offset]
    if (position === undefined) throw new RangeError(`link ${index} of ${this.count}`)
    return position
  }
}

/**
 * Reads a dag-pb block by the rules of its spec, as strictly as @ipld/dag-pb (a test compares the two): Hash, Name, Tsize in
 * order, nothing twice, nothing unknown, every Hash a CID.
 * @throws AppError DAG_INVALID; LIMIT_EXCEEDED above `nodeLinksMax`
 */
export function decodeDagPb(bytes: Uint8Array, limits: { readonly nodeLinksMax: number }): PbNode {
  try {
    return readNode(bytes, limits.nodeLinksMax)
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    throw new AppError('DAG_INVALID', `the block is not valid dag-pb: ${reason(cause)}`, { cause })
  }
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : 'unknown reason'
}

function readNode(bytes: Uint8Array, linksMax: number): PbNode {
  const reader = new ProtobufReader(bytes)
  const positions: number[] = []
  let data: Uint8Array | undefined
  let linksClosed = false
  while (!reader.done) {
    const tag = reader.varint()
    if (tag === 0x0a) {
      if (data !== undefined) throw new RangeError('Data twice')
      data = reader.field()
      linksClosed = positions.length > 0
    } else if (tag === 0x12) {
      if (linksClosed) throw new RangeError('links on both sides of Data')
      if (positions.length / stride >= linksMax) {
        throw new AppError('LIMIT_EXCEEDED', `the node has more than ${linksMax} links`, {
          hint: 'the setting NODE_LINKS_MAX bounds it',
          limit: 'node_links',
        })
      }
      const start = reader.span()
      readLink(new ProtobufReader(bytes, start, reader.pos), positions)
    } else {
      throw new RangeError(`node field with tag ${tag}`)
    }
  }
  return { data, links: new PbLinks(bytes, positions) }
}

function readLink(reader: ProtobufReader, positions: number[]): void {
  let hashStart = -1
  let hashEnd = -1
  let nameStart = -1
  let nameEnd = -1
  let sizeStart = -1
  while (!reader.done) {
    const tag = reader.varint()
    if (tag === 0x0a && hashStart < 0 && nameStart < 0 && sizeStart < 0) {
      hashStart = reader.span()
      hashEnd = reader.pos
    } else if (tag === 0x12 && nameStart < 0 && sizeStart < 0) {
      nameStart = reader.span()
      nameEnd = reader.pos
    } else if (tag === 0x18 && sizeStart < 0) {
      sizeStart = reader.pos
      reader.passUint64()
    } else {
      throw new RangeError(`link field with tag ${tag}, twice or out of order`)
    }
  }
  if (hashStart < 0) throw new RangeError('a link without Hash')
  if (!isUsualCid(reader.bytes, hashStart, hashEnd)) CID.decode(reader.bytes.subarray(hashStart, hashEnd))
  positions.push(hashStart, hashEnd, nameStart, nameEnd, sizeStart)
}

/** sha2-256 under version 0, or under version 1 with a codec below 0x80: valid without a closer look. */
function isUsualCid(bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at === 34) return bytes[at] === 0x12 && bytes[at + 1] === 0x20
  if (end - at !== 36 || bytes[at] !== 1) return false
  return (bytes[at + 1] ?? 0x80) < 0x80 && bytes[at + 2] === 0x12 && bytes[at + 3] === 0x20
}
