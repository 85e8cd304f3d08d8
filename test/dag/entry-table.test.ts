import { expect, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { type EntryChain, EntryTable } from '../../src/dag/entry-table.ts'
import type { Written } from '../../src/dag/write-node.ts'
import { turnOver } from '../../src/lib/turn-over.ts'

const pause = turnOver()
const written = (text: string) => ({ cid: hashBlock(Buffer.from(text), 0x55).cid, dagBytes: text.length })
const shown = ({ cid, dagBytes }: Written) => ({ cid: cid.toString(), dagBytes })
const chain = (id: number): EntryChain => ({ id, last: 0, count: 0 })
const nameOf = (index: number) => `${'ü'.repeat(index % 7)}${index}`

test('what was added is found by its directory and name, however often the table has grown', async () => {
  const table = new EntryTable()
  const directories = Array.from({ length: 5 }, (_, id) => chain(id))
  const count = 20_000
  for (let index = 0; index < count; index++) {
    const directory = directories[index % 5]
    if (directory !== undefined) table.add(directory, nameOf(index), written(nameOf(index)), index)
  }
  for (let index = 0; index < count; index += 7) {
    for (const directory of directories) {
      const row = table.find(directory, nameOf(index))
      if (directory.id !== index % 5) expect(row).toBeUndefined()
      else {
        expect(row === undefined ? undefined : { size: table.size(row), ...shown(table.written(row)) }).toEqual({
          size: index,
          ...shown(written(nameOf(index))),
        })
      }
    }
  }
  expect(table.find(directories[0] ?? chain(0), nameOf(count))).toBeUndefined()
})

test('a directory has its entries, in the order in which they came, and no others', async () => {
  const table = new EntryTable()
  const [one, other] = [chain(1), chain(2)]
  for (let index = 0; index < 3_000; index++) table.add(index % 3 === 0 ? other : one, nameOf(index), written('x'), 1)
  const expected = Array.from({ length: 3_000 }, (_, index) => nameOf(index)).filter((_, index) => index % 3 !== 0)
  const entries = await table.entriesOf(one, pause)
  const indexes = Array.from({ length: entries.count }, (_, index) => index)
  expect(indexes.map((index) => entries.name(index))).toEqual(expected)
  expect(Buffer.from(entries.nameBytes(5)).toString()).toBe(expected[5])
  expect(entries.linkBytes(5)).toBe(Buffer.byteLength(expected[5] ?? '') + written('x').cid.byteLength)
  expect(shown(entries.written(5))).toEqual(shown(written('x')))
  expect((await table.entriesOf(chain(3), pause)).count).toBe(0)
})

test('the longest names are taken, and a CID that was read lives on its own', async () => {
  const table = new EntryTable()
  const directory = chain(0)
  const names = Array.from({ length: 50 }, (_, index) => `${index}`.padEnd(8192, 'n'))
  for (const name of names) table.add(directory, name, written(name), 0)
  const entries = await table.entriesOf(directory, pause)
  expect(names.map((_, index) => entries.name(index))).toEqual(names)
  expect(entries.written(0).cid.bytes.buffer.byteLength).toBeLessThan(100)
})

test('names that were made to share one hash are refused; who does not know the seed cannot make them', () => {
  const names = collidingNames(600, seed)
  const put = (table: EntryTable) => {
    const directory = chain(0)
    for (const name of names) if (table.find(directory, name) === undefined) table.add(directory, name, written('x'), 0)
    return directory.count
  }
  expect(() => put(new EntryTable(seed))).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID' }))
  expect(put(new EntryTable(seed + 1))).toBe(names.length)
})

const seed = 12345
const prime = 0x01000193

/** Names that the hash of this seed (FNV-1a, directory 0) leaves in one state: by meeting in the middle. */
function collidingNames(count: number, from: number): string[] {
  const inverse = inverseOf(prime)
  const target = 0x1badb002 | 0
  const backward = new Map<number, string>()
  for (const end of words()) {
    let state = target
    for (let at = end.length - 1; at >= 0; at--) state = Math.imul(state, inverse) ^ end.charCodeAt(at)
    backward.set(state, end)
  }
  const names: string[] = []
  for (let prefix = 0; names.length < count; prefix++) {
    for (const begin of words()) {
      let state = from
      for (const byte of Buffer.from(`${prefix}${begin}`)) state = Math.imul(state ^ byte, prime)
      const end = backward.get(state)
      if (end !== undefined) names.push(`${prefix}${begin}${end}`)
    }
  }
  return names.slice(0, count)
}

/** Of four small letters. */
function* words(): Generator<string> {
  const letters = 'abcdefghijklmnopqrstuvwxyz'
  for (const a of letters)
    for (const b of letters) for (const c of letters) for (const d of letters) yield a + b + c + d
}

/** Of an odd number, modulo 2^32 (Newton). */
function inverseOf(odd: number): number {
  let inverse = odd
  for (let round = 0; round < 5; round++) inverse = Math.imul(inverse, 2 - Math.imul(odd, inverse))
  return inverse
}
