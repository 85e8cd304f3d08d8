import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type StoreRef, storeKey } from '../../src/blocks/store-ref.ts'
import type { Copy, Inventory, RootContext, RootFacts, StoreRecord } from '../../src/placement/model.ts'
import { Planner } from '../../src/placement/plan.ts'
import type { Plan, PolicyRule } from '../../src/placement/plan-model.ts'
import { compilePolicy } from '../../src/placement/policy.ts'
import { rootNamed } from '../support/placement.ts'

const nowMs = Date.parse('2026-11-21T12:00:00Z')
const nowhere: RootContext = { names: [], demand: {}, projectedAt: [] }

interface SiteSketch {
  readonly labels?: Readonly<Record<string, string>>
  readonly up?: boolean
  readonly state?: 'active' | 'removed'
  readonly stores?: Readonly<Record<string, Partial<StoreRecord>>>
}

function inventoryOf(sites: Readonly<Record<string, SiteSketch>>): Inventory {
  return {
    sites: Object.entries(sites).map(([site, { labels = {}, up = true, state = 'active' }]) => ({
      site,
      jetstreamDomain: site,
      labels,
      state,
      up,
    })),
    stores: Object.entries(sites).flatMap(([site, { stores = { a: {} } }]) =>
      Object.entries(stores).map(([store, more]) => ({
        site,
        store,
        shards: 4,
        replicas: 1,
        zones: [],
        createdAt: '2026-01-01T00:00:00.000Z',
        state: 'active' as const,
        primary: store === 'a',
        freeBytes: undefined,
        usedBytes: 0,
        ...more,
      })),
    ),
  }
}

const verified = (at: string): Copy => {
  const [site = '', store = ''] = at.split('/')
  return { site, store, state: 'verified', verifiedAt: '2026-11-21T11:00:00Z', eventId: at }
}

function factsOf(copies: readonly string[], more: Partial<RootFacts> = {}): RootFacts {
  return {
    root: rootNamed('something'),
    bytes: 1000,
    blocks: 1,
    originSite: copies[0]?.split('/')[0] ?? 'a',
    owner: 'ann',
    mediaType: null,
    addedAt: '2026-11-21T10:00:00Z',
    deleted: false,
    said: {},
    copies: copies.map(verified),
    told: undefined,
    lost: false,
    revision: 1,
    copyRevision: 0,
    correlation: 'c',
    lastEventId: 'e',
    ...more,
  }
}

function plannerOf(rule: Partial<PolicyRule>, inventory: Inventory): Planner {
  const whole: PolicyRule = { name: 'r', copies: { min: 1, max: 1 }, ack: 'local', ...rule }
  return new Planner(compilePolicy({ version: 1, rules: [whole] }), inventory, { nowMs })
}

const copies = (count: number) => ({ copies: { min: count, max: count } })
const adds = ({ steps }: Plan) => steps.flatMap(({ kind, to }) => (kind === 'add' ? [storeKey(to)] : []))
const removes = ({ steps }: Plan) => steps.flatMap(({ kind, to }) => (kind === 'remove' ? [storeKey(to)] : []))

/** What the facts are once a step has been carried out. The content of a new store is that of any other. */
function carriedOut(facts: RootFacts, { kind, to }: Plan['steps'][number]): RootFacts {
  const others = facts.copies.filter((copy) => storeKey(copy) !== storeKey(to))
  return { ...facts, copies: kind === 'add' ? [...others, verified(storeKey(to))] : others }
}

const newStoreLike = (like: StoreRecord, to: StoreRef): StoreRecord => ({
  ...like,
  ...to,
  zones: [],
  state: 'active',
  freeBytes: undefined,
  primary: false,
})

function withNewStores(inventory: Inventory, { steps }: Plan): Inventory {
  const made = steps.filter(({ newStore }) => newStore).map(({ to }) => to)
  const like = inventory.stores[0]
  if (like === undefined) return inventory
  return {
    ...inventory,
    stores: [...inventory.stores, ...made.map((to) => newStoreLike(like, to))],
  }
}

test('the default wants the copy that was put, and no more', () => {
  const planner = new Planner(compilePolicy(undefined), inventoryOf({ a: {}, b: {} }), { nowMs })
  expect(planner.plan(factsOf(['a/a']), nowhere)).toMatchObject({ rule: 'default', satisfied: true, steps: [] })
})

test('alone, three copies are three stores of the one site, and one failure domain', () => {
  const inventory = inventoryOf({ home: {} })
  const facts = factsOf(['home/a'])
  const first = plannerOf(copies(3), inventory).plan(facts, nowhere)
  expect(first).toMatchObject({ satisfied: false, failureDomains: 1 })
  expect(adds(first)).toEqual(['home/b', 'home/c'])
  expect(first.steps.every(({ newStore }) => newStore)).toBe(true)
  const after = first.steps.reduce(carriedOut, facts)
  const second = plannerOf(copies(3), withNewStores(inventory, first)).plan(after, nowhere)
  expect(second).toMatchObject({ satisfied: true, degraded: true, have: 3, failureDomains: 1, steps: [] })
})

test('when sites join, copies spread over them before surplus local ones go', () => {
  const inventory = inventoryOf({ home: { stores: { a: {}, b: {}, c: {} } }, one: {}, two: {} })
  let facts = factsOf(['home/a', 'home/b', 'home/c'])
  const planner = plannerOf(copies(3), inventory)
  const first = planner.plan(facts, nowhere)
  expect(adds(first).sort()).toEqual(['one/a', 'two/a'])
  expect(removes(first)).toEqual([])
  facts = first.steps.reduce(carriedOut, facts)
  const gone: string[] = []
  for (let plan = planner.plan(facts, nowhere); plan.steps.length > 0; plan = planner.plan(facts, nowhere)) {
    expect(adds(plan)).toEqual([])
    expect(removes(plan)).toHaveLength(1)
    gone.push(...removes(plan))
    facts = plan.steps.reduce(carriedOut, facts)
  }
  expect(gone).toHaveLength(2)
  expect(gone.every((key) => key.startsWith('home/'))).toBe(true)
  expect(planner.plan(facts, nowhere)).toMatchObject({ satisfied: true, degraded: false, failureDomains: 3 })
})

test('nothing is removed while a copy that is wanted is still on its way', () => {
  const inventory = inventoryOf({ home: { stores: { a: {}, b: {} } }, one: {} })
  const facts = factsOf(['home/a', 'home/b'])
  const requested: Copy = { ...verified('one/a'), state: 'requested', verifiedAt: undefined }
  const plan = plannerOf(copies(2), inventory).plan({ ...facts, copies: [...facts.copies, requested] }, nowhere)
  expect(plan.steps).toEqual([])
})

test('one copy is removed at a time', () => {
  const inventory = inventoryOf({ a: {}, b: {}, c: {}, d: {} })
  const facts = factsOf(['a/a', 'b/a', 'c/a', 'd/a'])
  const [first, ...rest] = facts.copies
  const removing = { ...facts, copies: [{ ...(first as Copy), state: 'removing' as const }, ...rest] }
  const planner = plannerOf(copies(1), inventory)
  expect(removes(planner.plan(facts, nowhere))).toHaveLength(1)
  expect(planner.plan(removing, nowhere).steps).toEqual([])
})

test('a copy that was asked to go at a site that is gone for good does not hold up the others', () => {
  const inventory = inventoryOf({ a: {}, b: {} })
  const gone: Copy = { ...verified('away/a'), state: 'removing' }
  const facts = factsOf(['a/a', 'b/a'])
  const plan = plannerOf(copies(1), inventory).plan({ ...facts, copies: [...facts.copies, gone] }, nowhere)
  expect(removes(plan)).toHaveLength(1)
})

test('a copy at a site that is down does not count, and one is made elsewhere; when it is back the surplus goes', () => {
  const facts = factsOf(['a/a', 'b/a'])
  const down = plannerOf(copies(2), inventoryOf({ a: {}, b: { up: false }, c: {} })).plan(facts, nowhere)
  expect(down).toMatchObject({ satisfied: false, have: 1 })
  expect(adds(down)).toEqual(['c/a'])
  const back = plannerOf(copies(2), inventoryOf({ a: {}, b: {}, c: {} })).plan(factsOf(['a/a', 'b/a', 'c/a']), nowhere)
  expect(removes(back)).toHaveLength(1)
})

test('a copy is never removed at a site that cannot hear it', () => {
  const inventory = inventoryOf({ a: {}, b: { up: false } })
  const plan = plannerOf({ ...copies(1), sites: ['a'] }, inventory).plan(factsOf(['a/a', 'b/a']), nowhere)
  expect(plan.steps).toEqual([])
})

test('a store that spans three zones counts as three copies', () => {
  const wide = { replicas: 3, zones: ['x', 'y', 'z'] }
  const plan = plannerOf(copies(3), inventoryOf({ a: { stores: { a: wide } }, b: {} })).plan(factsOf(['a/a']), nowhere)
  expect(plan).toMatchObject({ satisfied: true, degraded: false, have: 3, failureDomains: 3, steps: [] })
})

test('copies do not share a zone as long as there is a choice', () => {
  const inventory = inventoryOf({
    a: { labels: { zone: 'x' } },
    b: { labels: { zone: 'x' } },
    c: { labels: { zone: 'y' } },
  })
  expect(adds(plannerOf(copies(2), inventory).plan(factsOf(['a/a']), nowhere))).toEqual(['c/a'])
})

test('sites bounds where copies lie; what lies elsewhere goes once they are there', () => {
  const inventory = inventoryOf({ a: {}, b: { labels: { region: 'eu' } }, c: { labels: { region: 'eu' } } })
  const planner = plannerOf({ ...copies(2), sites: ['region=eu'] }, inventory)
  expect(adds(planner.plan(factsOf(['a/a']), nowhere)).sort()).toEqual(['b/a', 'c/a'])
  const plan = planner.plan(factsOf(['a/a', 'b/a', 'c/a']), nowhere)
  expect(removes(plan)).toEqual(['a/a'])
})

test('a rule that no place can meet says which rule and why', () => {
  const plan = plannerOf({ ...copies(2), sites: ['mars'] }, inventoryOf({ a: {} })).plan(factsOf(['a/a']), nowhere)
  expect(plan).toMatchObject({ satisfied: false, steps: [] })
  expect(plan.unmet.join()).toContain('rule r')
})

test('what should be avoided is taken only where there is nothing else', () => {
  const inventory = inventoryOf({ a: {}, b: { labels: { tier: 'slow' } }, c: {} })
  const rule = { avoid: ['tier=slow'] }
  expect(adds(plannerOf({ ...copies(2), ...rule }, inventory).plan(factsOf(['a/a']), nowhere))).toEqual(['c/a'])
  expect(adds(plannerOf({ ...copies(3), ...rule }, inventory).plan(factsOf(['a/a']), nowhere)).sort()).toEqual([
    'b/a',
    'c/a',
  ])
})

test('a site that projects the content gets a copy within max, and loses it when it ends', () => {
  const inventory = inventoryOf({ a: {}, b: {}, web: {} })
  const planner = plannerOf({ copies: { min: 1, max: 2 }, near: ['projections'] }, inventory)
  const shown = planner.plan(factsOf(['a/a']), { ...nowhere, projectedAt: ['web'] })
  expect(adds(shown)).toEqual(['web/a'])
  const both = factsOf(['a/a', 'web/a'])
  expect(planner.plan(both, { ...nowhere, projectedAt: ['web'] }).steps).toEqual([])
  expect(removes(planner.plan(both, nowhere))).toEqual(['web/a'])
})

test('without a policy each site that shows content gets a copy, and when it ends that copy goes, not the one that was put', () => {
  const inventory = inventoryOf({ a: {}, b: {}, web: {} })
  const planner = new Planner(compilePolicy(undefined), inventory, { nowMs })
  expect(adds(planner.plan(factsOf(['web/a']), { ...nowhere, projectedAt: ['a', 'b'] })).sort()).toEqual(['a/a', 'b/a'])
  for (const root of ['one', 'two', 'three', 'four', 'five', 'six'].map(rootNamed)) {
    const facts = factsOf(['a/a', 'web/a'], { root, originSite: 'web' })
    expect(removes(planner.plan(facts, nowhere))).toEqual(['a/a'])
  }
})

test('readers get further copies and do not pull those away that make it safe, as long as the rule has room', () => {
  const inventory = inventoryOf({ a: {}, b: {}, web: {} })
  const near = ['projections']
  const shown = { ...nowhere, projectedAt: ['web'] }
  const roomy = plannerOf({ copies: { min: 2, max: 3 }, near }, inventory)
  expect(roomy.plan(factsOf(['a/a', 'b/a', 'web/a']), shown).steps).toEqual([])
  const full = plannerOf({ copies: { min: 2, max: 2 }, near }, inventory)
  expect(adds(full.plan(factsOf(['a/a', 'b/a']), shown))).toEqual(['web/a'])
})

test('demand brings a copy from a rate on, and keeps it until half of that', () => {
  const inventory = inventoryOf({ a: {}, b: {} })
  const planner = plannerOf({ copies: { min: 1, max: 2 }, near: ['demand'] }, inventory)
  const at = (rate: number) => ({ ...nowhere, demand: { b: rate } })
  expect(adds(planner.plan(factsOf(['a/a']), at(9)))).toEqual([])
  expect(adds(planner.plan(factsOf(['a/a']), at(10)))).toEqual(['b/a'])
  const both = factsOf(['a/a', 'b/a'])
  expect(planner.plan(both, at(5)).steps).toEqual([])
  expect(removes(planner.plan(both, at(4)))).toEqual(['b/a'])
})

test('a store without room is not chosen, and one that holds it is kept', () => {
  const small = { freeBytes: 500 }
  const inventory = inventoryOf({ a: { stores: { a: small } }, b: { stores: { a: small } }, c: {} })
  expect(adds(plannerOf(copies(2), inventory).plan(factsOf(['a/a']), nowhere))).toEqual(['c/a'])
})

test('a draining store is emptied once its copies are elsewhere', () => {
  const inventory = inventoryOf({ a: { stores: { a: {}, b: { state: 'draining' } } }, c: {} })
  const planner = plannerOf(copies(1), inventory)
  expect(adds(planner.plan(factsOf(['a/b']), nowhere))).toHaveLength(1)
  expect(removes(planner.plan(factsOf(['a/b', 'c/a']), nowhere))).toEqual(['a/b'])
})

test('what lies at a removed site counts for nothing, and while that site is heard it is copied away, then dropped there', () => {
  const silent = plannerOf(copies(1), inventoryOf({ a: { state: 'removed', up: false }, b: {} }))
  expect(silent.plan(factsOf(['a/a']), nowhere)).toMatchObject({ have: 0, satisfied: false, steps: [] })
  const heard = plannerOf(copies(1), inventoryOf({ a: { state: 'removed' }, b: {} }))
  const alone = heard.plan(factsOf(['a/a']), nowhere)
  expect(alone).toMatchObject({ have: 0, satisfied: false })
  expect(adds(alone)).toEqual(['b/a'])
  const both = heard.plan(factsOf(['a/a', 'b/a']), nowhere)
  expect(both).toMatchObject({ have: 1, satisfied: true })
  expect(removes(both)).toEqual(['a/a'])
})

test('a store that was made anew holds nothing of what was verified in the one before', () => {
  const anew = inventoryOf({ a: {}, b: { stores: { a: { createdAt: '2026-11-21T11:30:00.000Z' } } } })
  const plan = plannerOf(copies(2), anew).plan(factsOf(['a/a', 'b/a']), nowhere)
  expect(plan).toMatchObject({ have: 1, satisfied: false })
  expect(adds(plan)).toEqual(['b/a'])
  // A clock that is behind by some seconds is no loss.
  const skewed = inventoryOf({ a: {}, b: { stores: { a: { createdAt: '2026-11-21T11:00:30.000Z' } } } })
  expect(plannerOf(copies(2), skewed).plan(factsOf(['a/a', 'b/a']), nowhere).steps).toEqual([])
})

test('deleted content wants no copy and gets no step, unless a name holds it', () => {
  const plan = plannerOf(copies(3), inventoryOf({ a: {}, b: {} })).plan(factsOf(['a/a'], { deleted: true }), nowhere)
  expect(plan).toMatchObject({ wanted: { min: 0, max: 0 }, steps: [] })
  const named = { ...nowhere, names: ['kept'] }
  const kept = plannerOf(copies(2), inventoryOf({ a: {}, b: {} })).plan(factsOf(['a/a'], { deleted: true }), named)
  expect(adds(kept)).toEqual(['b/a'])
})

test('without a rule of locality ten thousand objects lie evenly: each store has its share, give or take a tenth', () => {
  const sites = Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`s${i}`, { stores: { a: {}, b: {} } }]))
  const planner = plannerOf({ ...copies(2), spread: 'store' }, inventoryOf(sites))
  const held = new Map<string, number>()
  for (let i = 0; i < 10_000; i++) {
    let facts = factsOf(['s0/a'], { root: rootNamed(`object ${i}`) })
    for (let plan = planner.plan(facts, nowhere); plan.steps.length > 0; plan = planner.plan(facts, nowhere)) {
      facts = plan.steps.reduce(carriedOut, facts)
    }
    for (const copy of facts.copies) held.set(storeKey(copy), (held.get(storeKey(copy)) ?? 0) + 1)
  }
  expect(held.size).toBe(10)
  for (const count of held.values()) expect(Math.abs(count - 2000)).toBeLessThan(200)
})

const siteSketch = fc.record({
  labels: fc.record(
    { zone: fc.constantFrom('x', 'y', 'z'), region: fc.constantFrom('eu', 'us') },
    { requiredKeys: [] },
  ),
  up: fc.boolean(),
  stores: fc.dictionary(
    fc.constantFrom('a', 'b', 'c'),
    fc.record(
      {
        state: fc.constantFrom('active' as const, 'active' as const, 'draining' as const, 'removed' as const),
        freeBytes: fc.constantFrom(undefined, 0, 500, 1e9),
        zones: fc.constantFrom([], [], ['x', 'y', 'z']),
      },
      { requiredKeys: [] },
    ),
    { minKeys: 1, maxKeys: 3 },
  ),
})
const siteNames = ['p', 'q', 'r', 's', 't']
const inventories = fc
  .array(siteSketch, { minLength: 1, maxLength: 5 })
  .map((sketches) => inventoryOf(Object.fromEntries(sketches.map((sketch, i) => [siteNames[i] ?? '', sketch]))))
const rules = fc
  .record({ min: fc.integer({ min: 1, max: 4 }), more: fc.integer({ min: 0, max: 2 }) })
  .chain(({ min, more }) =>
    fc.record(
      {
        copies: fc.constant({ min, max: min + more }),
        spread: fc.constantFrom('zone' as const, 'site' as const, 'store' as const),
        sites: fc.constantFrom(['p', 'q'], ['region=eu'], ['zone=x', 'r']),
        near: fc.constantFrom(['projections'], ['demand'], ['q'], ['region=us', 'projections']),
        avoid: fc.constantFrom(['zone=x'], ['p']),
      },
      { requiredKeys: ['copies'] },
    ),
  )
const contexts = fc.record({
  names: fc.constant([]),
  demand: fc.dictionary(fc.constantFrom(...siteNames), fc.integer({ min: 0, max: 20 })),
  projectedAt: fc.uniqueArray(fc.constantFrom(...siteNames), { maxLength: 2 }),
})
const cases = inventories.chain((inventory) =>
  fc.record({
    inventory: fc.constant(inventory),
    rule: rules,
    context: contexts,
    seed: fc.string({ minLength: 1, maxLength: 5 }),
    at: fc.subarray(inventory.stores.map(storeKey), { minLength: 1 }),
  }),
)

test('ten thousand random cases: the same plan twice, each removal leaves min, and it ends where the policy holds or says why not', () => {
  fc.assert(
    fc.property(cases, ({ inventory: first, rule, context, seed, at }) => {
      let inventory = first
      let facts = factsOf(at, { root: rootNamed(seed) })
      for (let round = 0; ; round++) {
        expect(round).toBeLessThan(20)
        const plan = plannerOf(rule, inventory).plan(facts, context)
        expect(plannerOf(rule, structuredClone(inventory)).plan(structuredClone(facts), context)).toEqual(plan)
        const isUp = (site: string) => inventory.sites.some((one) => one.site === site && one.up)
        if (removes(plan).length > 0) {
          expect(plan.satisfied || plan.have >= rule.copies.min || facts.copies.length > rule.copies.min).toBe(true)
          const after = plannerOf(rule, inventory).plan(plan.steps.reduce(carriedOut, facts), context)
          expect(after.have).toBeGreaterThanOrEqual(Math.min(rule.copies.min, plan.have))
        }
        for (const { to, newStore } of plan.steps) {
          expect(isUp(to.site)).toBe(true)
          expect(newStore || inventory.stores.some((store) => storeKey(store) === storeKey(to))).toBe(true)
        }
        if (plan.steps.length === 0) {
          expect(plan.satisfied || plan.unmet.length > 0).toBe(true)
          return
        }
        inventory = withNewStores(inventory, plan)
        facts = plan.steps.reduce(carriedOut, facts)
      }
    }),
    { numRuns: 10_000 },
  )
})
