import { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { link } from '../../src/events/canonical.ts'
import { type Context, type Draft, type EventSource, encodeEvent } from '../../src/events/envelope.ts'
import { rootKey } from '../../src/names/name-fold.ts'
import { copyEvents } from '../../src/placement/copy-events.ts'
import { objectIn, rootEffects } from '../../src/placement/fold.ts'
import type { RootFacts } from '../../src/placement/model.ts'
import { partOf } from '../../src/placement/partial.ts'
import { rootNamed } from '../support/placement.ts'

const root = rootNamed('song')
const context: Context = {
  ...{ id: 'c1', correlation: 'c1', causation: undefined, owner: 'ann', principal: 'ann' },
  ...{ via: 'node', traceparent: undefined },
}

function message(sequence: number, draft: Draft, site: string) {
  const source: EventSource = { domain: 'stowage', site, space: 'main', node: 'n' }
  const { natsSubject, payload } = encodeEvent(draft, context, source)
  return { subject: natsSubject, sequence, payload }
}

function put(store: string | undefined, cid: string = root): Draft {
  const data = { cid: link(cid), size: 10, blocks: 1, newBlocks: 1, mediaType: 'text/plain', store }
  return { entity: 'object', verb: 'added', key: cid, subject: cid, data }
}

/** The facts after these, each `[draft, site]`, numbered from 1. */
function folded(...drafts: readonly (readonly [Draft, string])[]): RootFacts | undefined {
  let facts: RootFacts | undefined
  for (const [index, [draft, site]] of drafts.entries()) {
    for (const effect of rootEffects(message(index + 1, draft, site))) facts = effect.apply(facts)
  }
  return facts
}

const paris = { site: 'paris', store: 'a' }
const rule = { rule: 'r', why: 'because' }
const size = { blocks: 1, bytes: 10 }

test('a put is a verified copy in the store that took it', () => {
  expect(folded([put('a'), 'hub'])).toMatchObject({
    ...{ root, bytes: 10, blocks: 1, originSite: 'hub', owner: 'ann', mediaType: 'text/plain', revision: 1 },
    copies: [{ site: 'hub', store: 'a', state: 'verified' }],
  })
})

test('a put of before there was placement says what it is, and not where', () => {
  expect(folded([put(undefined), 'hub'])).toMatchObject({ originSite: 'hub', copies: [] })
})

test('the same content put at a second site keeps its origin and gains a copy', () => {
  const facts = folded([put('a'), 'hub'], [put('a'), 'paris'])
  expect(facts?.originSite).toBe('hub')
  expect(facts?.copies.map(({ site }) => site)).toEqual(['hub', 'paris'])
})

test('the same content put at two sites has one origin, in whatever order a log has the two', () => {
  const early = { ...message(1, put('a'), 'paris') }
  const late = { ...message(2, put('a'), 'hub') }
  const orders = [
    [early, late],
    [late, early],
  ]
  const origins = orders.map((order) => {
    let facts: RootFacts | undefined
    for (const [index, one] of order.entries()) {
      const payload = Buffer.from(one.payload.toString().replace(/"time":"[^"]+"/, `"time":"2026-01-0${one.sequence}"`))
      for (const effect of rootEffects({ ...one, payload, sequence: index + 1 })) facts = effect.apply(facts)
    }
    return facts?.originSite
  })
  expect(origins).toEqual(['paris', 'paris'])
})

test('a copy goes from requested to verified, and a failure leaves it failed', () => {
  const requested = [copyEvents.requested(root, 'add', paris, rule), 'paris'] as const
  expect(folded([put('a'), 'hub'], requested)?.copies.map(({ state }) => state)).toEqual(['verified', 'requested'])
  const made = [copyEvents.made(root, paris, { ...size, newBlocks: 1, seconds: 1 }), 'paris'] as const
  expect(folded([put('a'), 'hub'], requested, made)?.copies[1]?.state).toBe('requested')
  const verified = [copyEvents.verified(root, paris, size), 'paris'] as const
  expect(folded([put('a'), 'hub'], requested, made, verified)?.copies[1]).toMatchObject({ ...paris, state: 'verified' })
  const failed = [copyEvents.failed(root, paris, { code: 'x', message: 'y' }), 'paris'] as const
  expect(folded([put('a'), 'hub'], requested, failed)?.copies[1]?.state).toBe('failed')
})

test('what a compare-and-set on copies goes by is the last copy event, whatever it says', () => {
  const repaired = [copyEvents.repaired(root, root, { site: 'hub', store: 'a' }, paris), 'hub'] as const
  const made = [copyEvents.made(root, paris, { ...size, newBlocks: 1, seconds: 1 }), 'paris'] as const
  expect(folded([put('a'), 'hub'], repaired)?.copyRevision).toBe(2)
  expect(folded([put('a'), 'hub'], repaired, made)?.copyRevision).toBe(3)
  // A block that is no root begins nothing.
  expect(folded(repaired)).toBeUndefined()
})

test('a copy that is asked to go counts no more, also when it is looked at once more, and then is gone', () => {
  const remove = [copyEvents.requested(root, 'remove', paris, rule), 'hub'] as const
  const verified = [copyEvents.verified(root, paris, size), 'paris'] as const
  const going = [[put('a'), 'hub'], verified, remove] as const
  expect(folded(...going, verified)?.copies[1]?.state).toBe('removing')
  expect(folded(...going, [put('a'), 'paris'])?.copies[1]?.state).toBe('removing')
  expect(folded(...going, [copyEvents.removed(root, paris), 'paris'])?.copies).toHaveLength(1)
})

test('a request for what is there already changes nothing', () => {
  const requested = [copyEvents.requested(root, 'add', { site: 'hub', store: 'a' }, rule), 'hub'] as const
  expect(folded([put('a'), 'hub'], requested)?.copies[0]?.state).toBe('verified')
})

test('what was told of the policy is kept, deletion and loss too, and a new put takes those back', () => {
  const plan = { rule: 'r', have: 1, failureDomains: 1, wanted: { min: 1, max: 1 }, unmet: [] }
  const told = [copyEvents.told(root, 'degraded', plan), 'hub'] as const
  expect(folded([put('a'), 'hub'], told)?.told).toBe('degraded')
  const deleted = [{ ...put(undefined), verb: 'deleted' } as Draft, 'hub'] as const
  const lost = [{ ...put(undefined), verb: 'lost' } as Draft, 'hub'] as const
  expect(folded([put('a'), 'hub'], deleted, lost)).toMatchObject({ deleted: true, lost: true })
  expect(folded([put('a'), 'hub'], deleted, lost, [put('a'), 'hub'])).toMatchObject({ deleted: false, lost: false })
})

test('an event that is older than the facts changes nothing, so that a log may be read twice', () => {
  const facts = folded([put('a'), 'hub'], [copyEvents.verified(root, paris, size), 'paris'])
  const [again] = rootEffects(message(1, put('b'), 'hub'))
  expect(again?.apply(facts)).toBe(facts)
})

test('a CIDv0 and a CIDv1 of one block are one root', () => {
  const v0 = CID.parse(root).toV0().toString()
  const [effect] = rootEffects(message(1, put('a', v0), 'hub'))
  expect(effect?.key).toBe(rootKey(CID.parse(root)))
  expect(effect?.apply(undefined)?.root).toBe(root)
})

test('a message that is no event of ours has no effect', () => {
  const subject = 'stowage.evt.hub.main.copy.verified.x'
  expect(rootEffects({ subject, sequence: 1, payload: Buffer.from('{"specversion":"1.0"') })).toEqual([])
  expect(rootEffects({ ...message(1, put('a'), 'hub'), subject: 'other' })).toEqual([])
})

test('a deletion that comes before its put from another site is kept, and of what was never put it tells nothing', () => {
  const deleted = [{ ...put(undefined), verb: 'deleted' } as Draft, 'paris'] as const
  const early = folded(deleted)
  expect(early).toMatchObject({ originSite: '', deleted: true, copies: [] })
  expect(objectIn(early)).toBeUndefined()
  const facts = folded(deleted, [put('a'), 'hub'])
  expect(facts).toMatchObject({ originSite: 'hub', copies: [{ site: 'hub', store: 'a', state: 'verified' }] })
  expect(objectIn(facts)).toBe(facts)
})

/** A put of a part of the root; `missing` undefined = as events before told it, without what is missing. */
function putPart(store: string, missing: readonly string[] | undefined): Draft {
  const { data, ...draft } = put(store)
  const told = missing === undefined ? {} : { missing: missing.map(link) }
  return { ...draft, verb: 'imported', data: { ...data, roots: [link(root)], rootCount: 1, partial: true, ...told } }
}

const [one, two] = [rootNamed('one'), rootNamed('two')]
const keysOf = (...cids: string[]) => cids.map((cid) => rootKey(CID.parse(cid))).sort()

test('a put of a part is known as one, with what was not put, and the sum of two such puts too', () => {
  expect(partOf(folded([put('a'), 'hub']) ?? {})).toBeUndefined()
  const part = folded([putPart('a', [one]), 'hub'])
  expect(part).toMatchObject({ missing: keysOf(one), copies: [{ state: 'verified', partial: true }] })
  expect(folded([putPart('a', [one]), 'hub'], [putPart('b', [two]), 'paris'])?.missing).toEqual(keysOf(one, two))
  expect(folded([putPart('a', undefined), 'hub'])?.missing).toBeNull()
  expect(folded([putPart('a', [one]), 'hub'], [putPart('a', undefined), 'hub'])?.missing).toBeNull()
})

test('a part is whole once all of it was put or hashed, and copies of the part are to be made again', () => {
  const hashed = [copyEvents.verified(root, { site: 'hub', store: 'a' }, size), 'hub'] as const
  const hashedInPart = [copyEvents.verified(root, paris, { ...size, missing: 1 }), 'paris'] as const
  const part = folded([putPart('a', [one]), 'hub'], hashedInPart)
  expect(part && partOf(part)).toEqual({ missing: new Set(keysOf(one)) })
  expect(part?.copies.map(({ state }) => state)).toEqual(['verified', 'verified'])
  for (const whole of [hashed, [put('a'), 'hub'] as const]) {
    const facts = folded([putPart('a', [one]), 'hub'], hashedInPart, whole)
    expect(facts && partOf(facts)).toBeUndefined()
    expect(facts?.copies).toMatchObject([
      { site: 'hub', state: 'verified' },
      { ...paris, state: 'failed' },
    ])
    expect(facts?.copies[0]?.partial).toBeUndefined()
  }
})

test('a part that becomes whole has the size of the whole', () => {
  const { data, ...draft } = putPart('a', [one])
  const part: Draft = { ...draft, data: { ...data, size: 4, blocks: 1 } }
  const rest: Draft = { ...put('a'), data: { ...put('a').data, size: 10, blocks: 3 } }
  expect(folded([part, 'hub'])).toMatchObject({ bytes: 4, blocks: 1 })
  expect(folded([part, 'hub'], [rest, 'hub'])).toMatchObject({ bytes: 10, blocks: 3 })
  expect(folded([part, 'hub'], [rest, 'hub'], [part, 'hub'])).toMatchObject({ bytes: 10, blocks: 3 })
})

test('a part that is put where all of it lies changes nothing of that copy', () => {
  const facts = folded([put('a'), 'hub'], [putPart('a', [one]), 'hub'])
  expect(facts?.copies).toMatchObject([{ site: 'hub', store: 'a', state: 'verified' }])
  expect(facts?.copies[0]?.partial).toBeUndefined()
  expect(facts && partOf(facts)).toBeUndefined()
})

test('what sites know of a part is the same in whatever order their logs have the events of others', () => {
  const hub = [
    [putPart('a', [one]), 'hub'] as const,
    [copyEvents.verified(root, { site: 'hub', store: 'a' }, size), 'hub'] as const,
  ]
  const other = [
    [putPart('b', [two]), 'paris'] as const,
    [copyEvents.verified(root, { site: 'paris', store: 'b' }, { ...size, missing: 2 }), 'paris'] as const,
  ]
  const [h1, h2] = hub
  const [p1, p2] = other
  if (h1 === undefined || h2 === undefined || p1 === undefined || p2 === undefined) throw new Error('no events')
  const orders = [
    [h1, h2, p1, p2],
    [p1, p2, h1, h2],
    [h1, p1, h2, p2],
    [p1, h1, p2, h2],
  ]
  const known = orders.map((order) => {
    const facts = folded(...order)
    const copies = facts?.copies.map(({ site, store, state, partial }) => ({
      site,
      store,
      state,
      partial: partial === true,
    }))
    return { missing: facts?.missing, whole: facts?.whole, copies }
  })
  for (const one_ of known) expect(one_).toEqual(known[0])
  expect(known[0]).toMatchObject({
    whole: true,
    copies: [
      { site: 'hub', state: 'verified' },
      { site: 'paris', state: 'failed' },
    ],
  })
})

test('a CAR without roots says nothing of any', () => {
  const { data, ...draft } = put('a')
  const bag: Draft = { ...draft, verb: 'imported', key: '~c1', data: { ...data, cid: null, roots: [], partial: true } }
  expect(rootEffects(message(1, bag, 'hub'))).toEqual([])
})
