import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, inject, test } from 'vitest'
import { soakRun } from './soak-run.ts'

/** Too short for what memory does; long enough for a hang, wrong bytes, an answer of 500 and noise in the log. */
test('a few seconds of everything at once, a quarter of it given up: all is answered, and nothing is in the log', {
  timeout: 120_000,
}, async ({ onTestFinished }) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-soak-'))
  onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 10 }))
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
  const natsServer = inject('natsServer')
  const result = await soakRun({ dataDir, natsServer, seed, durationMs: 8_000, sampleMs: 1_000, contentsMax: 30 })
  expect({ seed, ...result }).toMatchObject({ wrong: [], failed: [], lost: [], unwanted: [], hasEnded: false })
  expect(Object.keys(result.counts).length).toBeGreaterThan(5)
})
