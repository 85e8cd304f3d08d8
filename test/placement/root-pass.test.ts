import { expect, test } from 'vitest'
import type { StoreHandle } from '../../src/blocks/stores.ts'
import type { RootFacts } from '../../src/placement/model.ts'
import { RootPass } from '../../src/placement/root-pass.ts'
import { signal } from '../support/dags.ts'

const at = { site: 'here', store: 'a' }
const known = (root: string, deleted: boolean) =>
  ({ root, deleted, lost: false, copies: [{ ...at, state: 'verified', verifiedAt: undefined }] }) as never as RootFacts

test('of deleted content the copies are verified that a name holds, also where it let go of them meanwhile', async () => {
  const roots = new Map(['kept', 'gone', 'held', 'let go'].map((root) => [root, known(root, root !== 'kept')]))
  const asked: string[] = []
  const verified: string[] = []
  const pass = new RootPass({
    handle: at as StoreHandle,
    facts: {
      get: async (key) => roots.get(key),
      all: async function* () {
        yield [...roots]
      },
    },
    repair: { verifyRoot: async (_at, { root }) => verified.push(root) > 0 },
    isNamed: async ({ root }) => {
      asked.push(root)
      return root === 'held' || (root === 'let go' && asked.filter((one) => one === root).length === 1)
    },
    pace: { lane: 'scrub', bytesPerSecond: Number.POSITIVE_INFINITY },
    dueBeforeMs: Date.now(),
    onTrouble: () => undefined,
  })
  const sums = { roots: 0, failedRoots: 0 }
  await pass.run(signal, (done) => {
    sums.roots += done.roots ?? 0
  })
  expect(verified).toEqual(['kept', 'held'])
  expect(sums.roots).toBe(2)
  expect(asked.filter((root) => root === 'kept')).toEqual([])
})
