import fc from 'fast-check'
import { expect, test } from 'vitest'
import { standingOfObject } from '../../src/names/object-life.ts'
import type { RootFacts } from '../../src/placement/model.ts'
import { Domain, factsOf, isInIndex, lifeIn, logOf, merges, said, step } from '../support/object-words.ts'

/** What all logs with these events come to, in whatever order they have those of different sites. */
function ends(domain: Domain): Set<string> {
  const found = new Set<string>()
  for (const all of merges(domain.own)) {
    const log = logOf(all)
    const facts = factsOf(log)
    found.add(JSON.stringify([isInIndex(log), facts?.deleted ?? false, Object.entries(facts?.said ?? {}).sort()]))
  }
  return found
}

test('after whatever sites have put and deleted, all orders of their events end the same, in facts and index', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), fc.boolean(), (steps, namesWhatItHeard) => {
      const domain = new Domain(namesWhatItHeard)
      let saidCount = 0
      // More events than that have too many orders to try all.
      for (const one of steps) if (one.does === 'hears' || ++saidCount <= 7) domain.does(one)
      const [end, ...others] = ends(domain)
      expect(others).toEqual([])
      const [inIndex, inFacts] = JSON.parse(end ?? '[]') as boolean[]
      expect(inIndex).toBe(inFacts)
    }),
    { numRuns: 150 },
  )
})

test('whoever has heard all has the last word, whatever the clocks say', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), step, fc.boolean(), (steps, { site, atMs }, deletes) => {
      const domain = new Domain(true)
      let saidCount = 0
      for (const one of steps) if (one.does === 'hears' || ++saidCount <= 5) domain.does(one)
      domain.hearAll()
      domain.say(site, deletes ? 'deleted' : 'added', atMs)
      expect([...ends(domain)].map((end) => (JSON.parse(end) as boolean[])[0])).toEqual([deletes])
    }),
    { numRuns: 150 },
  )
})

test('a log that is folded again from anywhere, in pieces, comes to the same facts', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 16 }), fc.array(fc.nat(8), { maxLength: 6 }), (steps, restarts) => {
      const domain = new Domain(true)
      for (const one of steps) domain.does(one)
      domain.hearAll()
      const log = logOf(domain.logs[0] ?? [])
      let facts: RootFacts | undefined
      let at = 0
      for (const back of restarts) {
        facts = factsOf(log.slice(at, at + 5), facts)
        at = Math.max(0, at + 5 - back)
      }
      expect(factsOf(log.slice(at), facts)).toEqual(factsOf(log))
    }),
  )
})

test('within one site the order of its log decides, also where its clocks run backwards', () => {
  const back = [said('hub', 'added', 9000), said('hub', 'deleted', 5000)]
  expect(isInIndex(logOf(back))).toBe(true)
  expect(factsOf(logOf(back))).toMatchObject({ deleted: true, said: { hub: { deleted: true, atMs: 9000 } } })
  const again = [...back, said('hub', 'added', 1000)]
  expect(isInIndex(logOf(again))).toBe(false)
  expect(factsOf(logOf(again))?.deleted).toBe(false)
})

test('of two sites that did not hear each other the later one counts, and at the same time the put', () => {
  const ended = (put: number, deleted: number) => {
    const lists = [[said('hub', 'deleted', deleted)], [said('paris', 'added', put)]]
    const found = Array.from(merges(lists), (all) => [isInIndex(logOf(all)), factsOf(logOf(all))?.deleted])
    expect(found[0]).toEqual(found[1])
    return found[0]?.[0]
  }
  expect(ended(1000, 2000)).toBe(true)
  expect(ended(2000, 1000)).toBe(false)
  expect(ended(1000, 1000)).toBe(false)
})

test('how a root stands has the revision of its newest event, also of one that does not count', () => {
  const log = logOf([said('hub', 'deleted', 5000), said('paris', 'added', 1000)])
  expect(standingOfObject(lifeIn(log))).toMatchObject({ site: 'hub', deleted: true, revision: 2 })
  expect(standingOfObject([])).toBeUndefined()
})
