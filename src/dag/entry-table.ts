import { randomInt } from 'node:crypto'
import { CID } from 'multiformats/cid'
import { AppError } from '../errors.ts'
import type { Pause } from '../lib/turn-over.ts'
import { KiB } from '../lib/units.ts'
import type { Written } from './write-node.ts'

/** Where an entry lies in its table; never 0. */
export type Row = number

/** What a directory has of its entries: they are chained in their table, from the last one on. */
export interface EntryChain {
  /** Its number: a table holds the entries of many. */
  readonly id: number
  /** 0 = none. */
  last: Row | 0
  count: number
}

/** The entries of one directory, by number from 0. */
export interface DirectoryEntries {
  readonly count: number
  name(index: number): string
  /** UTF-8. Valid until the table is gone. */
  nameBytes(index: number): Uint8Array
  /** Bytes of its name and its CID. */
  linkBytes(index: number): number
  written(index: number): Written
}

/** Fits the longest record: names and CIDs are shorter than a path may be (8 KiB). */
const chunkBytes = 64 * KiB
/** Rows are told by where they begin, in units of: */
const align = 4
/** The index grows a part at a time, so that no growth takes long. */
const parts = 256
const partSlotsMin = 8
/** Further than names come to lie by chance: the index is never more than half full. */
const probesMax = 512
/** So many between two looks at the clock. */
const rowsAStep = 4096

// A record: fixed fields, then the name, then the CID.
const hashAt = 0
const directoryAt = 4
const previousAt = 8
const nameLengthAt = 12
const cidLengthAt = 14
const dagBytesAt = 16
const sizeAt = 24
const nameAt = 32

/**
 * What is known of entries whose blocks are written: name, CID, Tsize and size, of all directories of an import. A million of
 * them take some 100 MB outside of the heap of V8. As objects they would stop the node for as long as it takes to mark and move
 * them, in each collection of garbage.
 */
export class EntryTable {
  readonly #chunks: Buffer[] = []
  /** Of the next record, in bytes from the beginning of the first chunk. */
  #end = align
  readonly #index: Uint32Array[] = []
  readonly #taken = new Uint32Array(parts)
  readonly #seed: number

  /** @param seed of the hash: nobody may know it, or they could choose names that all lie in one place */
  constructor(seed = randomInt(2 ** 32)) {
    this.#seed = seed
  }

  /**
   * The caller has seen that there is none of this name.
   * @param size bytes of content @throws AppError REQUEST_INVALID
   */
  add(chain: EntryChain, name: string, { cid, dagBytes }: Written, size: number): void {
    const bytes = Buffer.from(name)
    const { chunk, offset, row } = this.#room(nameAt + bytes.byteLength + cid.byteLength)
    const hash = this.#hash(chain.id, bytes)
    chunk.writeUInt32LE(hash, offset + hashAt)
    chunk.writeUInt32LE(chain.id, offset + directoryAt)
    chunk.writeUInt32LE(chain.last, offset + previousAt)
    chunk.writeUInt16LE(bytes.byteLength, offset + nameLengthAt)
    chunk.writeUInt16LE(cid.byteLength, offset + cidLengthAt)
    chunk.writeDoubleLE(dagBytes, offset + dagBytesAt)
    chunk.writeDoubleLE(size, offset + sizeAt)
    chunk.set(bytes, offset + nameAt)
    chunk.set(cid.bytes, offset + nameAt + bytes.byteLength)
    this.#enter(row, hash)
    chain.last = row
    chain.count++
  }

  /** @throws AppError REQUEST_INVALID */
  find({ id }: EntryChain, name: string): Row | undefined {
    const bytes = Buffer.from(name)
    const hash = this.#hash(id, bytes)
    const slots = this.#index[hash % parts]
    if (slots === undefined) return undefined
    const slot = this.#slot(slots, hash, (row) => this.#is(row, id, hash, bytes))
    return slots[slot] || undefined
  }

  /** Bytes of content. */
  size(row: Row): number {
    const { chunk, offset } = this.#at(row)
    return chunk.readDoubleLE(offset + sizeAt)
  }

  written(row: Row): Written {
    const { chunk, offset } = this.#at(row)
    const begin = offset + nameAt + chunk.readUInt16LE(offset + nameLengthAt)
    // A copy: what a CID lies in lives as long as it.
    const cid = CID.decode(new Uint8Array(chunk.subarray(begin, begin + chunk.readUInt16LE(offset + cidLengthAt))))
    return { cid, dagBytes: chunk.readDoubleLE(offset + dagBytesAt) }
  }

  /** Those that were added to it so far. */
  async entriesOf(chain: EntryChain, pause: Pause): Promise<DirectoryEntries> {
    const rows = new Uint32Array(chain.count)
    let row = chain.last
    for (let index = rows.length; index-- > 0; ) {
      rows[index] = row
      const { chunk, offset } = this.#at(row)
      row = chunk.readUInt32LE(offset + previousAt)
      if (index % rowsAStep === 0 && pause.isDue) await pause()
    }
    const at = (index: number) => rows[index] ?? 0
    return {
      count: rows.length,
      name: (index) => this.#name(at(index)).toString(),
      nameBytes: (index) => this.#name(at(index)),
      linkBytes: (index) => {
        const { chunk, offset } = this.#at(at(index))
        return chunk.readUInt16LE(offset + nameLengthAt) + chunk.readUInt16LE(offset + cidLengthAt)
      },
      written: (index) => this.written(at(index)),
    }
  }

  #name(row: Row): Buffer {
    const { chunk, offset } = this.#at(row)
    const begin = offset + nameAt
    return chunk.subarray(begin, begin + chunk.readUInt16LE(offset + nameLengthAt))
  }

  #is(row: Row, directory: number, hash: number, name: Uint8Array): boolean {
    const { chunk, offset } = this.#at(row)
    if (chunk.readUInt32LE(offset + hashAt) !== hash) return false
    if (chunk.readUInt32LE(offset + directoryAt) !== directory) return false
    return this.#name(row).equals(name)
  }

  #at(row: Row) {
    const position = row * align
    const chunk = this.#chunks[Math.floor(position / chunkBytes)]
    if (chunk === undefined) throw new AppError('INTERNAL', `no entry lies at ${row}`)
    return { chunk, offset: position % chunkBytes }
  }

  /** Records do not cross from one chunk into the next. */
  #room(bytes: number) {
    const left = chunkBytes - (this.#end % chunkBytes)
    if (bytes > left) this.#end += left
    const position = this.#end
    const number = Math.floor(position / chunkBytes)
    let chunk = this.#chunks[number]
    if (chunk === undefined) {
      chunk = Buffer.allocUnsafeSlow(chunkBytes)
      this.#chunks[number] = chunk
    }
    this.#end += Math.ceil(bytes / align) * align
    return { chunk, offset: position % chunkBytes, row: position / align }
  }

  #enter(row: Row, hash: number): void {
    const part = hash % parts
    const taken = (this.#taken[part] ?? 0) + 1
    let slots = this.#index[part] ?? new Uint32Array(partSlotsMin)
    if (taken * 2 > slots.length) slots = this.#grown(slots)
    slots[this.#slot(slots, hash, () => false)] = row
    this.#index[part] = slots
    this.#taken[part] = taken
  }

  #grown(slots: Uint32Array): Uint32Array {
    const larger = new Uint32Array(slots.length * 2)
    for (const row of slots) {
      if (row === 0) continue
      const { chunk, offset } = this.#at(row)
      larger[this.#slot(larger, chunk.readUInt32LE(offset + hashAt), () => false)] = row
    }
    return larger
  }

  /** The slot of what is looked for, or the empty one where it would be. @throws AppError REQUEST_INVALID */
  #slot(slots: Uint32Array, hash: number, isIt: (row: Row) => boolean): number {
    let slot = Math.floor(hash / parts) % slots.length
    for (let probes = 0; probes < probesMax; probes++) {
      const row = slots[slot] ?? 0
      if (row === 0 || isIt(row)) return slot
      slot = (slot + 1) % slots.length
    }
    throw new AppError('REQUEST_INVALID', 'too many names of the upload share one hash')
  }

  /** FNV-1a from the seed, mixed at the end as MurmurHash3 does. */
  #hash(directory: number, name: Uint8Array): number {
    let hash = this.#seed ^ Math.imul(directory, 0x9e3779b1)
    for (const byte of name) hash = Math.imul(hash ^ byte, 0x01000193)
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
    return (hash ^ (hash >>> 16)) >>> 0
  }
}
