import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { resolveServerBinary } from '../../src/nats/server-binary.ts'
import { killRun } from './kill-run.ts'
import { placementRounds } from './placement-rounds.ts'
import { soakRun, tellSoak } from './soak-run.ts'

// npm run faults -- --minutes 10 --seed 7
// npm run faults -- --soak --minutes 60 --seed 7
// npm run faults -- --placement --minutes 10 --seed 7
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    placement: { type: 'boolean', default: false },
    soak: { type: 'boolean', default: false },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
})
const minutes = Number(values.minutes)
const seed = Number(values.seed)
if (!(minutes > 0) || !Number.isInteger(seed))
  throw new Error('usage: npm run faults -- [--placement | --soak] --minutes <n> --seed <n>')

const { path: natsServer } = await resolveServerBinary()
const endMs = Date.now() + minutes * 60_000
const total = { rounds: 0, attempts: 0, acked: 0, recovered: 0, kills: 0 }
console.log(`seed ${seed}, ${minutes} minutes`)
if (values.placement) {
  const isWell = await placementRounds({ seed, endMs, natsServer, log: console.log })
  process.exit(isWell ? 0 : 1)
}
if (values.soak) {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-soak-'))
  const result = await soakRun({ dataDir, natsServer, seed, durationMs: minutes * 60_000, log: console.log })
  await rm(dataDir, { recursive: true, force: true, maxRetries: 10 })
  process.exit(tellSoak(result, minutes * 60_000, console.log) ? 0 : 1)
}
for (let round = 0; Date.now() < endMs; round++) {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-faults-'))
  try {
    const result = await killRun({ dataDir, natsServer, seed: seed + round, uploadsMax: 200, untilMs: endMs })
    total.rounds++
    total.attempts += result.attempts
    total.acked += result.acked
    total.recovered += result.recovered
    total.kills += result.killsOfNode + result.killsOfServer
    console.log(`round ${round} (seed ${seed + round}): ${JSON.stringify(result)}`)
    if (result.lost.length + result.wrong.length + result.ended.length > 0) process.exitCode = 1
  } finally {
    await rm(dataDir, { recursive: true, force: true, maxRetries: 10 })
  }
}
console.log(JSON.stringify(total))
