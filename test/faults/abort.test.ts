import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, inject, test } from 'vitest'
import { abortRun, isBackTo } from './abort-run.ts'

// A short run of `npm run faults -- --aborts`, which goes on for minutes with other seeds.
test('clients leave at every step of their requests while NATS stalls, and nobody waits for it', async ({
  onTestFinished,
}) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-aborts-'))
  onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 10 }))
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
  const result = await abortRun({ dataDir, natsServer: inject('natsServer'), seed, abortsMax: 400 })
  expect({ seed, ...result }).toMatchObject({ hangs: [], ended: undefined })
  expect(Object.keys(result.warnings).filter((line) => line.includes('Warning'))).toEqual([])
  expect(isBackTo(result.before, result.after), JSON.stringify([result.before, result.after])).toBe(true)
  expect(result.aborts).toBeGreaterThanOrEqual(400)
  expect(result.stalls).toBeGreaterThan(1)
}, 300_000)
