import { expect, test } from 'vitest'
import type { RootFacts } from '../../src/placement/model.ts'
import { Overview } from '../../src/placement/overview.ts'
import { RootKeys } from '../../src/placement/root-keys.ts'

const signal = new AbortController().signal
const facts = {
  originSite: 'hub',
  bytes: 10,
  copies: [],
  deleted: false,
  lost: false,
  told: undefined,
} as unknown as RootFacts

/** Counts how often all roots are read. */
function countingFacts() {
  const counts = { readings: 0 }
  const all = async function* () {
    counts.readings++
    yield [['b', facts] as const, ['a', facts] as const]
    yield [['unannounced', { ...facts, originSite: '' }] as const]
  }
  return { counts, all }
}

const inventory = () => ({ sites: [], stores: [] })
const isNamed = async () => false

test('however many ask for the picture at once or one after the other, all roots are read once in a while', async () => {
  const { counts, all } = countingFacts()
  const overview = new Overview({ facts: { all }, inventory, isNamed })
  const pictures = await Promise.all(Array.from({ length: 100 }, () => overview.picture({ signal })))
  expect(new Set(pictures).size).toBe(1)
  for (let i = 0; i < 100; i++) await overview.summary({ signal })
  expect(counts.readings).toBe(1)
})

test('one who leaves does not take the summary away from those who wait for it', async () => {
  const { counts, all } = countingFacts()
  const overview = new Overview({ facts: { all }, inventory, isNamed })
  const gone = new AbortController()
  const first = overview.summary({ signal: gone.signal })
  const second = overview.summary({ signal })
  gone.abort(new Error('gone'))
  await expect(first).rejects.toThrow('gone')
  expect((await second).roots.all).toBe(3)
  expect(counts.readings).toBe(1)
})

test('keys of roots are sorted, without those that nobody has announced, and read once in a while', async () => {
  const { counts, all } = countingFacts()
  const keys = new RootKeys({ all })
  const [one, other] = await Promise.all([keys.current(signal), keys.current(signal)])
  expect(one).toBe(other)
  expect(one?.within({ from: '', to: '' })).toEqual(['a', 'b'])
  expect(counts.readings).toBe(1)
  keys.close()
})

test('of deleted content what a name holds is added up, and names are looked up of nothing else', async () => {
  const roots = ['kept', 'gone', 'held'].map((root) => ({ ...facts, root, deleted: root !== 'kept' }))
  const all = async function* () {
    yield roots.map((root) => [root.root, root] as const)
  }
  const asked: string[] = []
  const isNamed = async ({ root }: RootFacts) => {
    asked.push(root)
    return root === 'held'
  }
  const overview = new Overview({ facts: { all }, inventory, isNamed })
  expect((await overview.summary({ signal })).roots).toMatchObject({ all: 2, bytes: 20 })
  expect(asked).toEqual(['gone', 'held'])
})
