import { expect, inject, test } from 'vitest'
import { oneCluster, type Places, setPolicy, threeSites, token } from '../faults/placement-places.ts'
import { type PlacementRunResult, placementRun } from '../faults/placement-run.ts'

const natsServer = inject('natsServer')

async function run(places: Places, copies: number, seed: number): Promise<PlacementRunResult> {
  try {
    await setPolicy(places, copies)
    const { nodes, faults, replicas } = places
    return await placementRun({
      ...{ nodes, faults, replicas, token, seed, copiesMin: copies },
      ...{ putsMax: 200, untilMs: Date.now() + 12_000, quietMsMax: 60_000 },
    })
  } finally {
    await places.stop()
  }
}

const nothingWrong = { lost: [], hollow: [], below: [], unsettled: [] }

// Acceptance scenario 7. Longer: npm run faults -- --placement --minutes 10 --seed 7
test('three sites: servers and nodes are killed during puts and moves, and nothing acked is lost', async () => {
  const result = await run(await threeSites(natsServer), 2, 7)
  expect(result).toMatchObject(nothingWrong)
  expect(result.copies).toBeGreaterThan(5)
  expect(result.acked).toBeGreaterThan(5)
  expect(result.strikes).toBeGreaterThan(2)
}, 300_000)

test('a cluster of three: servers and nodes are killed during puts and moves, and nothing acked is lost', async () => {
  const result = await run(await oneCluster(natsServer), 2, 8)
  expect(result).toMatchObject(nothingWrong)
  // Elections take some seconds each.
  expect(result.copies).toBeGreaterThan(0)
  expect(result.acked).toBeGreaterThan(0)
  expect(result.strikes).toBeGreaterThan(1)
}, 300_000)
