import { afterAll, beforeAll, expect, test } from 'vitest'
import { isAppError } from '../../src/errors.ts'
import { type Operation, violations } from '../support/linearizable.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { contextOf, fileOf, freshDomain, openTestVerbs, signal, type TestVerbs } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const at = (kind: Operation['kind'], expected: number, revision: number, from: number, to: number): Operation => ({
  kind,
  expected,
  revision,
  from,
  to,
})

test('the checker accepts what is right and finds each thing that is wrong', () => {
  const first = at('set', 0, 5, 0, 10)
  const second = at('set', 5, 7, 20, 30)
  expect(violations([first, second, at('read', 0, 5, 22, 24), at('read', 0, 7, 25, 26)])).toEqual([])
  expect(violations([first, second, at('read', 0, 7, 22, 24), at('read', 0, 5, 25, 26)])).toHaveLength(1)
  expect(violations([first, second, at('read', 0, 5, 31, 32)])).not.toEqual([])
  expect(violations([first, at('set', 5, 8, 20, 30), at('set', 5, 9, 20, 30)])).not.toEqual([])
  expect(violations([first, second, at('read', 0, 7, 12, 14)])).not.toEqual([])
  expect(violations([first, at('read', 0, 6, 12, 14)])).not.toEqual([])
  expect(violations([first, second, at('conflict', 5, 0, 12, 14)])).not.toEqual([])
  expect(violations([first, second, at('conflict', 5, 0, 22, 23), at('read', 0, 5, 24, 25)])).not.toEqual([])
})

const clients = 64
const rounds = 8
const names = Array.from({ length: 10 }, (_, i) => `shared/${i}`)

async function client(
  { verbs }: TestVerbs,
  seed: number,
  cids: readonly string[],
  histories: ReadonlyMap<string, Operation[]>,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const name = names[(seed * 7 + round * 3) % names.length] ?? ''
    const operations = histories.get(name) ?? []
    const readFrom = performance.now()
    const entry = await verbs.resolveName(name, { signal }).catch((error: unknown) => {
      if (isAppError(error, 'NAME_NOT_FOUND')) return undefined
      throw error
    })
    const expected = entry?.revision ?? 0
    operations.push(at('read', 0, expected, readFrom, performance.now()))
    const expect = expected === 0 ? 'absent' : { revision: expected }
    const cid = cids[(seed + round) % cids.length] ?? ''
    const from = performance.now()
    try {
      const change = { kind: 'set', name, cid, size: null, mediaType: null, expect } as const
      const { sequences } = await verbs.changeNames(contextOf(), [change], { signal })
      operations.push(at('set', expected, sequences[0] ?? 0, from, performance.now()))
    } catch (error) {
      if (!isAppError(error, 'REVISION_CONFLICT')) throw error
      operations.push(at('conflict', expected, 0, from, performance.now()))
    }
  }
}

test('two nodes and 64 clients on ten names: one winner a revision, nothing lost, and all of it linearizable', async ({
  onTestFinished,
}) => {
  const domain = freshDomain()
  const nodes = [
    await openTestVerbs(server.url, onTestFinished, { domain }),
    await openTestVerbs(server.url, onTestFinished, { domain }),
  ] as const
  const cids: string[] = []
  for (const text of ['one', 'two', 'three']) {
    cids.push((await nodes[0].verbs.put(contextOf(), fileOf(text), { signal })).cid.toString())
  }
  const histories = new Map(names.map((name) => [name, [] as Operation[]]))
  await Promise.all(
    Array.from({ length: clients }, (_, seed) => client(nodes[seed % 2 === 0 ? 0 : 1], seed, cids, histories)),
  )
  let won = 0
  let lost = 0
  for (const name of names) {
    const operations = histories.get(name) ?? []
    expect(violations(operations)).toEqual([])
    const sets = operations.filter(({ kind }) => kind === 'set').sort((a, b) => a.revision - b.revision)
    won += sets.length
    lost += operations.filter(({ kind }) => kind === 'conflict').length
    const { versions: history } = await nodes[1].verbs.nameHistory(name, { limit: 10_000, signal })
    expect(history.map(({ revision }) => revision)).toEqual(sets.map(({ revision }) => revision))
    expect(history.map(({ previous }) => previous)).toEqual(sets.map(({ expected }) => expected))
  }
  expect(won + lost).toBe(clients * rounds)
  // Without both there was no contest.
  expect(won).toBeGreaterThan(names.length)
  expect(lost).toBeGreaterThan(names.length)
})

test('those who take anything all win, one after the other, and each knows what it replaced', async ({
  onTestFinished,
}) => {
  const domain = freshDomain()
  const nodes = [
    await openTestVerbs(server.url, onTestFinished, { domain }),
    await openTestVerbs(server.url, onTestFinished, { domain }),
  ] as const
  const { cid } = await nodes[0].verbs.put(contextOf(), fileOf('same'), { signal })
  const change = { kind: 'set', name: 'hot', cid: cid.toString(), size: 4, mediaType: null, expect: 'any' } as const
  await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      nodes[i % 2 === 0 ? 0 : 1].verbs.changeNames(contextOf(), [change], { signal }),
    ),
  )
  const { versions: history } = await nodes[0].verbs.nameHistory('hot', { limit: 10_000, signal })
  expect(history).toHaveLength(40)
  expect(history.slice(1).map(({ previous }) => previous)).toEqual(history.slice(0, -1).map(({ revision }) => revision))
})
