import { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { AppError } from '../../src/errors.ts'
import { rootKey } from '../../src/names/name-fold.ts'
import { createJudge, type JudgeParts } from '../../src/placement/judge.ts'
import type { Copy, RootFacts } from '../../src/placement/model.ts'
import { rootNamed } from '../support/placement.ts'

const { signal } = new AbortController()
const root = rootNamed('judged')
const missing = new AppError('BLOCK_NOT_FOUND', 'a block is not stored here')

const copy = (site: string, state: Copy['state'] = 'verified'): Copy => ({
  ...{ site, store: 'a', state, verifiedAt: '2026-01-01T00:00:00Z', eventId: 'e' },
})

const facts = (copies: readonly Copy[], change: Partial<RootFacts> = {}): RootFacts => ({
  ...{ root, bytes: 1, blocks: 1, originSite: 'home', owner: 'o', mediaType: null, addedAt: '2026-01-01T00:00:00Z' },
  ...{ deleted: false, said: {}, copies, told: undefined, lost: false, revision: 1, copyRevision: 0 },
  ...{ correlation: 'c', lastEventId: 'e', ...change },
})

function judged(known: RootFacts | undefined, failure: unknown, parts: Partial<JudgeParts> = {}): Promise<unknown> {
  const judge = createJudge({
    factsOf: async () => known,
    isNamed: async () => false,
    isUp: (site) => site !== 'away',
    isGone: ({ site }) => site === 'left',
    isRead: () => true,
    sitesDown: () => [],
    ask: async () => true,
    ...parts,
  })
  return judge(CID.parse(root), failure, signal)
}

test('what was never announced, and what was deleted, stays not found', async () => {
  await expect(judged(undefined, missing)).resolves.toBe(missing)
  await expect(judged(facts([copy('home')], { deleted: true }), missing)).resolves.toBe(missing)
})

test('what was deleted and is held by a name is judged like any content', async () => {
  const held = { isNamed: async () => true }
  await expect(judged(facts([copy('home')], { deleted: true }), missing, held)).resolves.toMatchObject({
    code: 'BLOCK_LOST',
  })
  await expect(judged(facts([copy('away')], { deleted: true }), missing, held)).resolves.toMatchObject({
    code: 'STORE_UNAVAILABLE',
  })
})

test('content whose copies are all at sites that answer is lost', async () => {
  await expect(judged(facts([copy('home')]), missing)).resolves.toMatchObject({ code: 'BLOCK_LOST', cause: missing })
  await expect(judged(facts([copy('home', 'failed')]), missing)).resolves.toMatchObject({ code: 'BLOCK_LOST' })
  const damaged = new AppError('BLOCK_CORRUPT', 'damaged')
  await expect(judged(facts([copy('home')]), damaged)).resolves.toMatchObject({ code: 'BLOCK_LOST' })
})

test('content with a copy at a site that is down is unavailable, not lost', async () => {
  const known = facts([copy('away'), copy('home')])
  for (const code of ['BLOCK_NOT_FOUND', 'BLOCK_LOST', 'BLOCK_CORRUPT'] as const) {
    await expect(judged(known, new AppError(code, 'x'))).resolves.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  }
})

test('content whose last copy went with a site that was removed is lost, whatever else is down', async () => {
  const isUp = () => false
  const known = facts([copy('left'), copy('home', 'failed')])
  await expect(judged(known, missing, { isUp, sitesDown: () => ['away'] })).resolves.toMatchObject({
    code: 'BLOCK_LOST',
  })
})

test('a site that was heard a moment ago and does not answer is as good as down', async () => {
  const ask = async () => {
    throw new AppError('STORE_UNAVAILABLE', 'cut off')
  }
  await expect(judged(facts([copy('home')]), missing, { ask })).resolves.toMatchObject({ code: 'STORE_UNAVAILABLE' })
})

test('a store that reads do not go on to yet may have it', async () => {
  const isRead = () => false
  await expect(judged(facts([copy('home')]), missing, { isRead })).resolves.toMatchObject({ code: 'STORE_UNAVAILABLE' })
})

test('where nobody noted the copies, a site that is down may have one', async () => {
  const down = { sitesDown: () => ['away'] }
  await expect(judged(facts([]), missing, down)).resolves.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await expect(judged(facts([]), missing)).resolves.toMatchObject({ code: 'BLOCK_LOST' })
})

test('an outage, an abort and a path that leads nowhere are left as they are, and nothing is asked', async () => {
  const factsOf = async () => {
    throw new Error('asked')
  }
  for (const failure of [new AppError('STORE_UNAVAILABLE', 'x'), new AppError('PATH_NOT_FOUND', 'x'), new Error('x')]) {
    await expect(judged(undefined, failure, { factsOf })).resolves.toBe(failure)
  }
})

test('of what was taken in as partial, a part that was never put is not found, and one that was put is lost', async () => {
  const [never, put] = [rootNamed('never put'), rootNamed('put')]
  const failed = (block: string, code: 'BLOCK_NOT_FOUND' | 'BLOCK_LOST' = 'BLOCK_NOT_FOUND') =>
    new AppError(code, 'x', { block })
  const part = facts([copy('home')], { missing: [rootKey(CID.parse(never))] })
  await expect(judged(part, failed(never))).resolves.toMatchObject({
    ...{ code: 'BLOCK_NOT_FOUND', hint: expect.stringContaining('partial') },
  })
  await expect(judged(part, failed(put))).resolves.toMatchObject({ code: 'BLOCK_LOST' })
  await expect(judged(part, failed(never, 'BLOCK_LOST'))).resolves.toMatchObject({ code: 'BLOCK_LOST' })
  // Where the parts that were not put are not known, any may be one of them.
  const unknown = facts([copy('home')], { missing: null })
  await expect(judged(unknown, failed(put))).resolves.toMatchObject({ code: 'BLOCK_NOT_FOUND' })
  await expect(judged({ ...unknown, whole: true }, failed(put))).resolves.toMatchObject({ code: 'BLOCK_LOST' })
  const away = facts([copy('away')], { missing: null })
  await expect(judged(away, failed(never))).resolves.toMatchObject({ code: 'STORE_UNAVAILABLE' })
})

test('only what is lost is told as lost', async () => {
  const told: unknown[] = []
  const onLost = (_: RootFacts, { code }: AppError) => told.push(code)
  await judged(facts([copy('home')]), missing, { onLost })
  expect(told).toEqual(['BLOCK_NOT_FOUND'])
  await judged(facts([copy('home')], { missing: null }), missing, { onLost })
  await judged(facts([copy('away')]), missing, { onLost })
  await judged(undefined, missing, { onLost })
  expect(told).toHaveLength(1)
})
