/** A cursor over protobuf wire format. It throws RangeError where the bytes end too soon or a number is out of range. */
export class ProtobufReader {
  readonly bytes: Uint8Array
  pos: number
  readonly end: number

  constructor(bytes: Uint8Array, pos = 0, end = bytes.byteLength) {
    this.bytes = bytes
    this.pos = pos
    this.end = end
  }

  get done(): boolean {
    return this.pos >= this.end
  }

  /** Tags and lengths. @throws RangeError above 2^53 - 1 */
  varint(): number {
    let value = 0
    let factor = 1
    for (let count = 0; count < 10; count++) {
      const byte = this.#byte()
      value += (byte & 0x7f) * factor
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) break
        return value
      }
      factor *= 128
    }
    throw new RangeError('varint out of range')
  }

  /** A uint64, exactly. */
  uint64(): bigint {
    const start = this.pos
    while (this.#byte() >= 0x80);
    const count = this.pos - start
    if (count <= 7) {
      this.pos = start
      return BigInt(this.varint())
    }
    if (count > 10 || (count === 10 && (this.bytes[this.pos - 1] ?? 0) > 1)) throw new RangeError('varint out of range')
    let value = 0n
    for (let index = this.pos - 1; index >= start; index--)
      value = (value << 7n) | BigInt((this.bytes[index] ?? 0) & 0x7f)
    return value
  }

  fixed32(): number {
    const start = this.#advance(4)
    return new DataView(this.bytes.buffer, this.bytes.byteOffset).getUint32(start, true)
  }

  /** Over a uint64, checked as `uint64` does, which makes a BigInt of it. */
  passUint64(): void {
    const start = this.pos
    while (this.#byte() >= 0x80);
    const count = this.pos - start
    if (count > 10 || (count === 10 && (this.bytes[this.pos - 1] ?? 0) > 1)) throw new RangeError('varint out of range')
  }

  /** A view of the next `length`-prefixed field. */
  field(): Uint8Array {
    const start = this.span()
    return this.bytes.subarray(start, this.pos)
  }

  /** The same as positions: where it starts; it ends at `pos`. A view costs more than reading the field. */
  span(): number {
    return this.#advance(this.varint())
  }

  /** Over the value of a field that is not ours. Groups (3, 4) are not used by any format here. */
  skip(wireType: number): void {
    if (wireType === 0) this.uint64()
    else if (wireType === 1) this.#advance(8)
    else if (wireType === 2) this.#advance(this.varint())
    else if (wireType === 5) this.#advance(4)
    else throw new RangeError(`wire type ${wireType}`)
  }

  #byte(): number {
    const byte = this.pos < this.end ? this.bytes[this.pos] : undefined
    if (byte === undefined) throw new RangeError('unexpected end')
    this.pos++
    return byte
  }

  #advance(count: number): number {
    const start = this.pos
    if (count > this.end - start) throw new RangeError('unexpected end')
    this.pos = start + count
    return start
  }
}
