import { AppError } from '../errors.ts'

/** Nesting within one block. The decoders recurse: 100,000 bytes of `0x81` would end in a stack overflow. */
const nestingMax = 256

/** @throws AppError DAG_INVALID when the CBOR nests deeper than 256, before anything is decoded or allocated */
export function checkCborNesting(bytes: Uint8Array): void {
  const open: number[] = []
  let pos = 0
  while (pos < bytes.byteLength) {
    const [major, value, next] = cborHead(bytes, pos)
    pos = next
    let children = 0
    if (major === 2 || major === 3) pos += value
    else if (major === 4) children = value
    else if (major === 5) children = value * 2
    else if (major === 6) children = 1
    // Each child takes at least a byte: what claims more is refused without believing it.
    if (pos + children > bytes.byteLength) throw malformed('CBOR', 'a length points beyond the end of the block')
    if (children > 0) open.push(children)
    else close(open)
    if (open.length > nestingMax) throw malformed('CBOR', `it nests deeper than ${nestingMax}`)
  }
}

function close(open: number[]): void {
  for (let top = open.pop(); top !== undefined; top = open.pop()) {
    if (top > 1) {
      open.push(top - 1)
      return
    }
  }
}

/** Major type, argument, position after the head. */
function cborHead(bytes: Uint8Array, pos: number): [number, number, number] {
  const first = bytes[pos] ?? 0
  const major = first >> 5
  const info = first & 31
  if (info < 24) return [major, info, pos + 1]
  if (info > 27) throw malformed('CBOR', 'an item of indefinite or reserved length')
  const width = 1 << (info - 24)
  if (pos + 1 + width > bytes.byteLength) throw malformed('CBOR', 'it ends within an item')
  let value = 0
  for (let index = 1; index <= width; index++) value = value * 256 + (bytes[pos + index] ?? 0)
  return [major, value, pos + 1 + width]
}

/** The same for JSON: brackets outside strings. */
export function checkJsonNesting(bytes: Uint8Array): void {
  let depth = 0
  let inString = false
  for (let pos = 0; pos < bytes.byteLength; pos++) {
    const byte = bytes[pos]
    if (inString) {
      if (byte === 0x5c) pos++
      else if (byte === 0x22) inString = false
    } else if (byte === 0x22) inString = true
    else if (byte === 0x7b || byte === 0x5b) depth++
    else if (byte === 0x7d || byte === 0x5d) depth--
    if (depth > nestingMax) throw malformed('JSON', `it nests deeper than ${nestingMax}`)
  }
}

function malformed(format: string, why: string): AppError {
  return new AppError('DAG_INVALID', `the block is not valid DAG-${format}: ${why}`)
}
