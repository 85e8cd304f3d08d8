import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, inject, test } from 'vitest'
import { killRun } from './kill-run.ts'

test('node and nats-server killed at random moments during 50 uploads: nothing acked is lost, nothing is half visible', {
  timeout: 240_000,
}, async ({ onTestFinished }) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-kill-'))
  onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 10 }))
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
  const result = await killRun({ dataDir, natsServer: inject('natsServer'), seed, uploadsMax: 50 })
  expect({ seed, ...result }).toMatchObject({ lost: [], wrong: [], ended: [] })
  expect(result.acked).toBeGreaterThan(0)
  expect(result.killsOfNode + result.killsOfServer).toBeGreaterThan(3)
})
