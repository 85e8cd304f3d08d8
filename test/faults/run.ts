import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { resolveServerBinary } from '../../src/nats/server-binary.ts'
import { abortRounds } from './abort-rounds.ts'
import { damageRounds } from './damage-run.ts'
import { killRun } from './kill-run.ts'
import { placementRounds } from './placement-rounds.ts'
import { powerCutRun } from './power-cut-run.ts'
import { soakRun, tellSoak } from './soak-run.ts'

// npm run faults -- --minutes 10 --seed 7          node and server are killed during uploads
// npm run faults -- --placement --minutes 10       sites during puts and moves
// npm run faults -- --aborts --minutes 10          clients leave at every step, while NATS stalls
// npm run faults -- --damage --minutes 30          every stream is damaged at rest
// npm run faults -- --powercut --minutes 10 [--cuts 100] [--late]   (root, Linux; --late: the control, which must lose)
// npm run faults -- --soak --minutes 60            everything at once: is memory flat, and what is in the log
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    placement: { type: 'boolean', default: false },
    aborts: { type: 'boolean', default: false },
    damage: { type: 'boolean', default: false },
    powercut: { type: 'boolean', default: false },
    cuts: { type: 'string', default: '1000000' },
    late: { type: 'boolean', default: false },
    soak: { type: 'boolean', default: false },
  },
})
const minutes = Number(values.minutes)
const seed = Number(values.seed)
if (!(minutes > 0) || !Number.isInteger(seed)) {
  throw new Error(
    'usage: npm run faults -- [--placement | --aborts | --damage | --powercut | --soak] --minutes <n> --seed <n>',
  )
}

const { path: natsServer } = await resolveServerBinary()
const endMs = Date.now() + minutes * 60_000
const round = { seed, endMs, natsServer, log: console.log }
console.log(`seed ${seed}, ${minutes} minutes`)
if (values.placement) process.exit((await placementRounds(round)) ? 0 : 1)
if (values.aborts) process.exit((await abortRounds(round)) ? 0 : 1)
if (values.damage) process.exit((await damageRounds(round)) ? 0 : 1)
if (values.powercut) process.exit((await powerCuts()) ? 0 : 1)
if (values.soak) process.exit((await soak()) ? 0 : 1)
await killRounds()

async function powerCuts(): Promise<boolean> {
  const sync = values.late ? 'late' : 'always'
  const cutsMax = Number(values.cuts)
  const result = await powerCutRun({ natsServer, seed, cutsMax, untilMs: endMs, sync, log: console.log })
  console.log(JSON.stringify(result))
  const { lost, wrong, files, notStarted } = result
  return lost.length + wrong.length + files.length + notStarted.length === 0
}

async function soak(): Promise<boolean> {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-soak-'))
  const result = await soakRun({ dataDir, natsServer, seed, durationMs: minutes * 60_000, log: console.log })
  await rm(dataDir, { recursive: true, force: true, maxRetries: 10 })
  return tellSoak(result, minutes * 60_000, console.log)
}

async function killRounds(): Promise<void> {
  const total = { rounds: 0, attempts: 0, acked: 0, recovered: 0, kills: 0 }
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
}
