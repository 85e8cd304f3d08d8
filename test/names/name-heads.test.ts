import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { NameVersion } from '../../src/names/name-entry.ts'
import { areRooted, headsOf, standingOf, versionsUntil } from '../../src/names/name-heads.ts'

type Event = Omit<NameVersion, 'revision' | 'previous'>

const siteNames = ['berlin', 'hub', 'paris'] as const
const timeOf = (seconds: number) => new Date(1_800_000_000_000 + seconds * 1000).toISOString()

const eventOf = (id: string, parents: readonly string[], more: Partial<Event> = {}): Event => ({
  ...{ verb: 'set', cid: `cid-${id}`, size: null, mediaType: null, owner: 'ann', time: timeOf(0) },
  ...{ eventId: id, site: 'hub', parents },
  ...more,
})

/** As a log has them: each with its sequence there. */
const logOf = (events: readonly Event[]): NameVersion[] =>
  events.map((event, at) => ({ ...event, revision: at + 1, previous: at }))

const sameEverywhere = (log: readonly NameVersion[]) => {
  const { revision: _, previous: __, ...rest } = standingOf(log) ?? { revision: 0, previous: 0 }
  return rest
}

type Act =
  | { readonly kind: 'change'; readonly site: number; readonly removes: boolean; readonly clock: number }
  | { readonly kind: 'hear'; readonly site: number; readonly from: number }

const acts = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant('change' as const),
      site: fc.nat(2),
      removes: fc.boolean(),
      clock: fc.integer({ min: -3, max: 3 }),
    }),
    fc.record({ kind: fc.constant('hear' as const), site: fc.nat(2), from: fc.nat(2) }),
  ),
  { maxLength: 40 },
)

/** Three sites that change a name as they stand, and hear each other's events in each one's order, when they do. */
function live(all: readonly Act[]) {
  const logs: Event[][] = [[], [], []]
  const own: Event[][] = [[], [], []]
  const heard = [0, 1, 2].map(() => [0, 0, 0])
  const hear = (site: number, from: number) => {
    const next = own[from]?.[heard[site]?.[from] ?? 0]
    if (site === from || next === undefined) return false
    const counts = heard[site]
    if (counts !== undefined) counts[from] = (counts[from] ?? 0) + 1
    logs[site]?.push(next)
    return true
  }
  for (const [at, act] of all.entries()) {
    if (act.kind === 'hear') hear(act.site, act.from)
    else {
      const standing = standingOf(logOf(logs[act.site] ?? []))
      const heads = standing === undefined ? [] : (standing.heads ?? [standing])
      const event = eventOf(
        `e${String(at).padStart(2, '0')}`,
        heads.map(({ eventId }) => eventId),
        {
          verb: act.removes ? 'removed' : 'set',
          site: siteNames[act.site] ?? '',
          time: timeOf(at + act.clock),
        },
      )
      own[act.site]?.push(event)
      logs[act.site]?.push(event)
    }
  }
  const parted = logs.map((log) => [...log])
  for (const site of [0, 1, 2]) for (const from of [2, 0, 1]) while (hear(site, from));
  return { logs, parted }
}

test('sites that have heard the same events agree on heads and winner, in whatever order they heard them', () => {
  fc.assert(
    fc.property(acts, fc.infiniteStream(fc.nat()), (all, order) => {
      const { logs } = live(all)
      const [first = []] = logs
      const expected = sameEverywhere(logOf(first))
      for (const log of logs) expect(sameEverywhere(logOf(log))).toEqual(expected)
      const shuffled = first.map((event) => ({ event, at: order.next().value ?? 0 })).sort((a, b) => a.at - b.at)
      expect(sameEverywhere(logOf(shuffled.map(({ event }) => event)))).toEqual(expected)
    }),
    { numRuns: 500 },
  )
})

test('a site that has changed a name after all that it had heard stands on that change alone', () => {
  fc.assert(
    fc.property(acts, (all) => {
      for (const [site, log] of live(all).parted.entries()) {
        const last = log.at(-1)
        if (last === undefined || last.site !== siteNames[site]) continue
        expect(headsOf(logOf(log)).map(({ eventId }) => eventId)).toEqual([last.eventId])
      }
    }),
    { numRuns: 500 },
  )
})

test('what came after a point with one head tells the heads, where all of it descends from that one', () => {
  let looked = 0
  fc.assert(
    fc.property(acts, (all) => {
      for (const log of live(all).logs.map(logOf)) {
        for (let at = 0; at < log.length; at++) {
          const standing = standingOf(log.slice(0, at + 1))
          const isAlone = standing?.heads === undefined && standing?.eventId === log[at]?.eventId
          const recent = log.slice(at)
          if (!isAlone || !areRooted(recent)) continue
          looked++
          expect(standingOf(recent)).toEqual(standingOf(log))
        }
      }
    }),
    { numRuns: 300 },
  )
  expect(looked).toBeGreaterThan(300)
})

test('concurrent sets are two heads, the later one first; then the greater id', () => {
  const base = eventOf('a', [])
  const left = eventOf('b', ['a'], { site: 'paris', time: timeOf(2) })
  const right = eventOf('c', ['a'], { site: 'hub', time: timeOf(1) })
  expect(standingOf(logOf([base, left, right]))).toMatchObject({
    cid: 'cid-b',
    revision: 3,
    heads: [
      { eventId: 'b', site: 'paris', cid: 'cid-b' },
      { eventId: 'c', site: 'hub', cid: 'cid-c' },
    ],
  })
  const even = [left, right].map((event) => ({ ...event, time: timeOf(1) }))
  expect(standingOf(logOf([base, ...even]))).toMatchObject({ cid: 'cid-c' })
  const resolved = standingOf(logOf([base, left, right, eventOf('d', ['b', 'c'])]))
  expect(resolved).toMatchObject({ cid: 'cid-d', revision: 4 })
  expect(resolved?.heads).toBeUndefined()
})

test('what one side set while the other removed the name stands', () => {
  const base = eventOf('a', [])
  const set = eventOf('b', ['a'], { time: timeOf(1) })
  const removed = eventOf('c', ['a'], { time: timeOf(2), verb: 'removed', site: 'paris' })
  expect(standingOf(logOf([base, removed, set]))).toMatchObject({
    verb: 'set',
    cid: 'cid-b',
    heads: [
      { eventId: 'b', cid: 'cid-b' },
      { eventId: 'c', cid: null },
    ],
  })
})

test('an event that comes after the one which replaced it changes nothing', () => {
  const [a, b] = [eventOf('a', []), eventOf('b', ['a'], { site: 'paris' })]
  const standing = standingOf(logOf([b, a]))
  expect(standing).toMatchObject({ cid: 'cid-b', revision: 2 })
  expect(standing?.heads).toBeUndefined()
})

test('as of a time a name is what the sites had done by then, whenever we heard of it', () => {
  const base = eventOf('a', [], { time: timeOf(0) })
  const later = eventOf('b', ['a'], { time: timeOf(50) })
  const cutOff = eventOf('c', ['a'], { time: timeOf(10), site: 'paris' })
  const log = logOf([base, later, cutOff])
  expect(standingOf(versionsUntil(log, new Date(timeOf(20))))).toMatchObject({ cid: 'cid-c' })
  expect(standingOf(versionsUntil(log, new Date(timeOf(60))))).toMatchObject({ cid: 'cid-b', heads: [{}, {}] })
  expect(standingOf(versionsUntil(log, new Date(timeOf(-1))))).toBeUndefined()
})
