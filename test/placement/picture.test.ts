import { expect, test } from 'vitest'
import type { Inventory, RootFacts, StoreRecord } from '../../src/placement/model.ts'
import { placementPicture } from '../../src/placement/picture.ts'
import { Summary } from '../../src/placement/summary.ts'
import { rootNamed } from '../support/placement.ts'

const storeAt = (site: string, store: string, more: Partial<StoreRecord> = {}): StoreRecord => ({
  ...{
    site,
    store,
    shards: 4,
    replicas: 1,
    zones: [],
    createdAt: '2026-01-01T00:00:00.000Z',
    state: 'active',
    primary: store === 'a',
  },
  ...{ freeBytes: undefined, usedBytes: 2048, ...more },
})

const inventory: Inventory = {
  sites: [
    { site: 'hub', jetstreamDomain: 'hub', labels: {}, state: 'active', up: true },
    { site: 'away', jetstreamDomain: 'away', labels: {}, state: 'active', up: false },
  ],
  stores: [storeAt('hub', 'a'), storeAt('hub', 'old', { state: 'removed' }), storeAt('away', 'a')],
}

const facts = (name: string, more: Partial<RootFacts> = {}): RootFacts => ({
  ...{ root: rootNamed(name), bytes: 1000, blocks: 1, originSite: 'hub', owner: 'ann', mediaType: null },
  ...{
    addedAt: '2026-11-21T10:00:00Z',
    deleted: false,
    said: {},
    told: undefined,
    lost: false,
    revision: 1,
    copyRevision: 0,
  },
  ...{ correlation: 'c', lastEventId: 'e' },
  copies: [{ site: 'hub', store: 'a', state: 'verified', verifiedAt: '2026-11-21T10:00:00Z', eventId: 'e' }],
  ...more,
})

function summaryOf(...roots: readonly RootFacts[]) {
  const summary = new Summary(inventory)
  for (const root of roots) summary.add(root)
  return summary.result
}

test('the sum tells for each store how many copies lie there and in which state', () => {
  const requested = { site: 'away', store: 'a', state: 'requested', verifiedAt: undefined, eventId: 'e' } as const
  const going = facts('b', { told: 'degraded', copies: [...facts('b').copies, requested] })
  const { stores, roots } = summaryOf(facts('a'), going, facts('d', { lost: true }))
  expect(roots).toEqual({ all: 3, degraded: 1, lost: 1, bytes: 3000 })
  expect(
    stores.map(({ site, store, up, copies, rootBytes }) => [
      site,
      store,
      up,
      copies.verified,
      copies.requested,
      rootBytes,
    ]),
  ).toEqual([
    ['hub', 'a', true, 3, 0, 3000],
    ['hub', 'old', true, 0, 0, 0],
    ['away', 'a', false, 0, 1, 0],
  ])
})

test('the picture has a box for each store that is there, says which site is not heard, and what is wrong', () => {
  const svg = placementPicture(summaryOf(facts('a', { told: 'degraded' })))
  expect(svg.match(/<rect class="store"/g)).toHaveLength(2)
  expect(svg).not.toContain('>old<')
  expect(svg).toContain('not heard')
  expect(svg).toContain('1 degraded')
})

test('what a site calls itself cannot get out of the picture', () => {
  const site = '<script>&"'
  const evil: Inventory = {
    sites: inventory.sites.map((one) => ({ ...one, site })),
    stores: [storeAt(site, '</svg>')],
  }
  const svg = placementPicture(new Summary(evil).result)
  expect(svg).not.toContain('<script>')
  expect(svg.match(/<\/svg>/g)).toHaveLength(1)
})

test('an empty domain has a picture too', () => {
  expect(placementPicture(new Summary({ sites: [], stores: [] }).result)).toContain('0 roots')
})
