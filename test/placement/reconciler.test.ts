import { CID } from 'multiformats/cid'
import { expect, test, vi } from 'vitest'
import { AppError } from '../../src/errors.ts'
import type { Draft } from '../../src/events/envelope.ts'
import { rootKey } from '../../src/names/name-fold.ts'
import type { Inventory, RootFacts } from '../../src/placement/model.ts'
import { decodeMove, type MoveTask } from '../../src/placement/move.ts'
import { Planner } from '../../src/placement/plan.ts'
import { compilePolicy, parsePolicy } from '../../src/placement/policy.ts'
import { Reconciler, type ReconcilerParts } from '../../src/placement/reconciler.ts'
import { stewardOf } from '../../src/placement/steward.ts'
import { signal } from '../support/dags.ts'
import { rootNamed } from '../support/placement.ts'

const root = rootNamed('reconciled')
const key = rootKey(CID.parse(root))
const time = '2026-11-21T10:00:00Z'

const inventory = (...down: string[]): Inventory => ({
  sites: ['a', 'b', 'c'].map((site) => ({
    ...{ site, jetstreamDomain: site, labels: {}, state: 'active' as const, up: !down.includes(site) },
  })),
  stores: ['a', 'b', 'c'].map((site) => ({
    ...{ site, store: 'a', shards: 1, replicas: 1, zones: [], state: 'active' as const, primary: true, createdAt: '' },
    ...{ freeBytes: undefined, usedBytes: 0 },
  })),
})

type State = RootFacts['copies'][number]['state']
const facts = (copies: Readonly<Record<string, State>>, more: Partial<RootFacts> = {}): RootFacts => ({
  ...{
    root,
    bytes: 1,
    blocks: 1,
    originSite: 'a',
    owner: 'o',
    mediaType: null,
    addedAt: time,
    deleted: false,
    said: {},
  },
  ...{ told: undefined, lost: false, revision: 9, copyRevision: 7, correlation: 'put', lastEventId: 'e' },
  copies: Object.entries(copies).map(([site, state]) => ({ site, store: 'a', state, verifiedAt: time, eventId: 'e' })),
  ...more,
})

interface Rig {
  readonly reconciler: Reconciler
  readonly queued: MoveTask[]
  readonly recorded: { readonly draft: Draft; readonly lastSequence: number | undefined }[]
  readonly trouble: unknown[]
  readonly losses: string[]
}

function rig(site: string, known: RootFacts | undefined, copies: number, more: Partial<ReconcilerParts> = {}): Rig {
  const queued: MoveTask[] = []
  const recorded: Rig['recorded'] = []
  const trouble: unknown[] = []
  const losses: string[] = []
  const policy = compilePolicy(parsePolicy({ version: 1, rules: [{ name: 'r', copies }] }))
  const current = { planner: new Planner(policy, inventory(), { nowMs: 0 }), inventory: inventory() }
  const reconciler = new Reconciler({
    site,
    facts: { get: async () => known },
    queue: {
      add: async (_, data) => {
        queued.push(decodeMove(data))
        return true
      },
    },
    recorder: {
      copyFilter: (text) => `filter of ${text}`,
      record: async (draft, _cause, expect) => {
        recorded.push({ draft, lastSequence: expect?.lastSequence })
        return {} as never
      },
    },
    planner: () => current,
    hasListened: () => true,
    contextOf: async () => ({ names: [], demand: {}, projectedAt: [] }),
    onTrouble: (error) => trouble.push(error),
    onLoss: (_, failure) => losses.push(failure.message),
    ...more,
  })
  return { reconciler, queued, recorded, trouble, losses }
}

test('each site queues the copies that are to lie with it, and no others', async () => {
  for (const site of ['b', 'c']) {
    const { reconciler, queued, recorded } = rig(site, facts({ a: 'verified' }), 3)
    await reconciler.reconcile(key, signal)
    expect(queued.map(({ action, to }) => `${action} ${to.site}`)).toEqual([`add ${site}`])
    expect(recorded).toEqual([])
  }
})

test('the steward asks one surplus copy to go, by compare-and-set, and tells nothing meanwhile', async () => {
  const { reconciler, recorded, queued } = rig('a', facts({ a: 'verified', b: 'verified', c: 'verified' }), 1)
  await reconciler.reconcile(key, signal)
  expect(recorded.map(({ draft, lastSequence }) => [draft.verb, lastSequence])).toEqual([['requested', 7]])
  expect(queued).toEqual([])
})

test('while one copy is on its way out no other one is asked to go', async () => {
  const { reconciler, recorded, queued } = rig('a', facts({ a: 'verified', b: 'removing', c: 'verified' }), 1)
  await reconciler.reconcile(key, signal)
  expect(recorded.filter(({ draft }) => draft.verb === 'requested')).toEqual([])
  expect(queued).toEqual([])
  const there = rig('b', facts({ a: 'verified', b: 'removing', c: 'verified' }), 1)
  await there.reconciler.reconcile(key, signal)
  expect(there.queued.map(({ action }) => action)).toEqual(['remove'])
})

test('how a root fares is told when it changes, and not again', async () => {
  const said = async (told: RootFacts['told']) => {
    const { reconciler, recorded } = rig('a', facts({ a: 'verified', b: 'verified' }, { told }), 2)
    await reconciler.reconcile(key, signal)
    return recorded.map(({ draft }) => draft.verb)
  }
  expect(await said(undefined)).toEqual(['satisfied'])
  expect(await said('degraded')).toEqual(['satisfied'])
  expect(await said('satisfied')).toEqual([])
})

test('a root of which only a copy is known is left alone until its put comes in', async () => {
  const { reconciler, queued, recorded } = rig('a', facts({ b: 'verified', c: 'verified' }, { originSite: '' }), 1)
  expect(await reconciler.reconcile(key, signal)).toBeUndefined()
  expect([queued, recorded]).toEqual([[], []])
})

test('in a review what the log has asked for is queued again', async () => {
  const { reconciler, queued } = rig('b', facts({ a: 'verified', b: 'requested' }), 2)
  await reconciler.reconcile(key, signal)
  expect(queued).toEqual([])
  await reconciler.reconcile(key, signal, undefined, true)
  expect(queued.map(({ to, from }) => [to.site, from.map(({ site }) => site)])).toEqual([['b', ['a']]])
})

test('in a review a copy that has failed is queued again as long as whole ones are left', async () => {
  const { reconciler, queued } = rig('b', facts({ a: 'verified', b: 'failed' }), 1)
  await reconciler.reconcile(key, signal)
  expect(queued).toEqual([])
  await reconciler.reconcile(key, signal, undefined, true)
  expect(queued.map(({ to }) => to.site)).toEqual(['b'])
  const last = rig('b', facts({ b: 'failed' }), 1)
  await last.reconciler.reconcile(key, signal, undefined, true)
  expect(last.queued).toEqual([])
})

test('what lay at a removed site alone is lost, and one site tells it, once', async () => {
  const alone = facts({ a: 'verified', b: 'failed' }, { told: 'degraded' })
  const without = (known: RootFacts, site: string) => {
    const policy = compilePolicy(parsePolicy({ version: 1, rules: [{ name: 'r', copies: 1 }] }))
    const { sites, stores } = inventory('a')
    const left = sites.map((one) => (one.site === 'a' ? { ...one, state: 'removed' as const } : one))
    const now = { sites: left, stores }
    return rig(site, known, 1, {
      planner: () => ({ planner: new Planner(policy, now, { nowMs: 0 }), inventory: now }),
    })
  }
  const [teller, other] = [without(alone, 'b'), without(alone, 'c')]
  for (const { reconciler } of [teller, other]) await reconciler.reconcile(key, signal)
  // A copy that was verified meanwhile is no loss.
  const told = teller.recorded.map(({ draft, lastSequence }) => [`${draft.entity}.${draft.verb}`, lastSequence])
  expect(told).toEqual([['object.lost', 7]])
  expect(teller.losses).toEqual([expect.stringContaining('a/a')])
  expect(other.recorded).toEqual([])
  for (const known of [{ ...alone, lost: true }, facts({ a: 'verified', c: 'removing' }, { told: 'degraded' })]) {
    const { reconciler, recorded } = without(known, 'b')
    await reconciler.reconcile(key, signal)
    expect(recorded).toEqual([])
  }
})

test('nothing is lost with a removed site for whoever has not listened long enough to know that it is silent', async () => {
  const policy = compilePolicy(parsePolicy({ version: 1, rules: [{ name: 'r', copies: 1 }] }))
  const { sites, stores } = inventory('a')
  const now = { sites: sites.map((one) => (one.site === 'a' ? { ...one, state: 'removed' as const } : one)), stores }
  for (const hasListened of [false, true]) {
    const { reconciler, losses } = rig('b', facts({ a: 'verified' }, { told: 'degraded' }), 1, {
      planner: () => ({ planner: new Planner(policy, now, { nowMs: 0 }), inventory: now }),
      hasListened: () => hasListened,
    })
    await reconciler.reconcile(key, signal)
    expect(losses).toHaveLength(hasListened ? 1 : 0)
  }
})

test('the steward is the site of the put, also while it is down, and another one once it has left', () => {
  const known = facts({ a: 'verified', b: 'verified', c: 'verified' })
  expect(stewardOf(known, inventory('a'))).toBe('a')
  const { sites, stores } = inventory('b')
  const left = sites.map((site) => (site.site === 'a' ? { ...site, state: 'removed' as const } : site))
  expect(stewardOf(known, { sites: left, stores })).toBe('c')
})

test('a compare-and-set that is lost is no trouble: the news that it lost to brings the root again', async () => {
  const record = async () => {
    throw new AppError('REVISION_CONFLICT', 'somebody else was faster')
  }
  const { reconciler, trouble } = rig('a', facts({ a: 'verified', b: 'verified' }), 1, {
    recorder: { record, copyFilter: () => '' },
  })
  const end = new AbortController()
  const running = reconciler.run(end.signal)
  reconciler.consider(key)
  await vi.waitFor(() => expect(reconciler.pending).toBe(0))
  end.abort()
  await running
  expect(trouble).toEqual([])
})

test('a failure is told once and tried again, and the others go on', async () => {
  let failures = 0
  const queued: string[] = []
  const { reconciler, trouble } = rig('b', facts({ a: 'verified' }), 3, {
    queue: {
      add: async (what) => queued.push(what) > 0,
    },
    contextOf: async () => {
      if (failures++ === 0) throw new Error('once')
      return { names: [], demand: {}, projectedAt: [] }
    },
  })
  const end = new AbortController()
  const running = reconciler.run(end.signal)
  reconciler.consider('one')
  reconciler.consider('two')
  await vi.waitFor(() => expect(queued).toHaveLength(2), { timeout: 5_000 })
  end.abort()
  await running
  expect(trouble).toHaveLength(1)
})

test('a million roots are not remembered one by one: that some were left out is known', () => {
  const { reconciler } = rig('a', undefined, 1)
  for (let i = 0; i < 1_000_000; i++) reconciler.consider(`root ${i}`)
  expect(reconciler.pending).toBe(10_000)
  expect(reconciler.takeOverflowed()).toBe(true)
  expect(reconciler.takeOverflowed()).toBe(false)
})

test('one that is considered while it is under way is looked at once more, never twice at a time', async () => {
  let open = 0
  let most = 0
  let looks = 0
  const { reconciler } = rig('a', facts({ a: 'verified' }, { told: 'satisfied' }), 1, {
    contextOf: async () => {
      open++
      looks++
      most = Math.max(most, open)
      await new Promise((resolve) => setImmediate(resolve))
      if (looks === 1) reconciler.consider(key)
      open--
      return { names: [], demand: {}, projectedAt: [] }
    },
  })
  const end = new AbortController()
  const running = reconciler.run(end.signal)
  reconciler.consider(key)
  await vi.waitFor(() => expect([looks, reconciler.pending]).toEqual([2, 0]))
  end.abort()
  await running
  expect(most).toBe(1)
})
