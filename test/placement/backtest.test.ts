import { expect, test } from 'vitest'
import { Backtest } from '../../src/placement/backtest.ts'
import type { Inventory, RootContext, RootFacts } from '../../src/placement/model.ts'
import { compilePolicy, parsePolicy } from '../../src/placement/policy.ts'
import { rootNamed } from '../support/placement.ts'

const nowhere: RootContext = { names: [], demand: {}, projectedAt: [] }
const startMs = Date.parse('2026-11-21T12:00:00Z')

const inventory: Inventory = {
  sites: ['berlin', 'hub', 'paris'].map((site) => ({
    site,
    jetstreamDomain: site,
    labels: {},
    state: 'active',
    up: false,
  })),
  stores: ['berlin', 'hub', 'paris'].map((site) => ({
    ...{ site, store: 'a', shards: 4, replicas: 1, zones: [], createdAt: '', state: 'active' as const },
    ...{ primary: true, freeBytes: undefined, usedBytes: 0 },
  })),
}

const facts = {
  ...{ root: rootNamed('film'), bytes: 1_000_000, blocks: 1, originSite: 'hub', owner: 'x', mediaType: null },
  ...{
    addedAt: '2026-11-21T11:00:00Z',
    deleted: false,
    said: {},
    told: undefined,
    lost: false,
    revision: 1,
    copyRevision: 0,
  },
  ...{
    correlation: 'c',
    lastEventId: 'e',
    copies: [{ site: 'hub', store: 'a', state: 'verified', verifiedAt: 't', eventId: 'e' }],
  },
} as RootFacts

function backtest(rule: object) {
  return new Backtest(compilePolicy(parsePolicy({ version: 1, rules: [{ name: 'r', ...rule }] })), inventory)
}

/** A read of 1,000 bytes at Paris each second. */
function readAtParis(test: Backtest, reads: number): void {
  for (let i = 0; i < reads; i++) {
    test.read({ rootKey: 'film', site: 'paris', bytes: 1000, timeMs: startMs + i * 1000 }, nowhere)
  }
}

test('one copy where it was put: reads there are at the site, all others cross', () => {
  const one = backtest({ copies: 1 })
  one.begin('film', facts, nowhere, startMs)
  readAtParis(one, 10)
  one.read({ rootKey: 'film', site: 'hub', bytes: 1000, timeMs: startMs }, nowhere)
  expect(one.result()).toMatchObject({
    reads: 11,
    roots: 1,
    bytesCrossed: 10_000,
    sites: { hub: { reads: 1, hits: 1, hitRate: 1 }, paris: { reads: 10, hits: 0, bytesCrossed: 10_000 } },
    copies: { made: 0, bytes: 0 },
  })
})

test('a copy where it is read costs its bytes once, and then nothing crosses', () => {
  const near = backtest({ copies: 2, near: ['paris'] })
  near.begin('film', facts, nowhere, startMs)
  readAtParis(near, 10)
  expect(near.result()).toMatchObject({
    hitRate: 1,
    bytesCrossed: 0,
    copies: { made: 1, removed: 0, bytes: 1_000_000, bytesCrossed: 1_000_000 },
  })
})

test('demand brings a copy after the reads that make it, not before', () => {
  const hot = backtest({ copies: { min: 1, max: 2 }, near: ['demand'] })
  hot.begin('film', facts, nowhere, startMs)
  readAtParis(hot, 400)
  const { sites, copies } = hot.result()
  expect(copies.made).toBe(1)
  expect(sites.paris?.hits).toBeGreaterThan(200)
  expect(sites.paris?.hits).toBeLessThan(400)
})

test('reads of what is not known are counted, and the same reads give the same result', () => {
  const run = () => {
    const test = backtest({ copies: { min: 2, max: 3 }, near: ['demand'] })
    test.begin('film', facts, nowhere, startMs)
    readAtParis(test, 300)
    test.read({ rootKey: 'gone', site: 'paris', bytes: 1, timeMs: startMs }, nowhere)
    return test.result()
  }
  expect(run()).toEqual(run())
  expect(run()).toMatchObject({ readsUnknown: 1, reads: 300 })
})
