import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Stowage } from './stowage.ts'

/** Clock ticks a second in /proc: fixed on Linux, whatever the kernel's own tick is. */
const ticksPerSecond = 100
/** Of one core, over a second, node and nats-server together. */
const idleShareMax = 0.05
const settleMsMax = 600_000

/** Of a node and of the nats-server that it runs, in milliseconds of CPU since each was started. */
export interface CpuTime {
  readonly node: number
  readonly server: number
}

export async function cpuTimeOf(stowage: Stowage): Promise<CpuTime> {
  const { pid, dataDir } = stowage.node()
  const record = JSON.parse(await readFile(join(dataDir, 'nats-server.pid'), 'utf8')) as { pid: number }
  return { node: await cpuMs(pid), server: await cpuMs(record.pid) }
}

/** What `work` takes of a node's and its server's CPU, an operation. */
export async function cpuOf(stowage: Stowage, operations: number, work: () => Promise<unknown>): Promise<CpuTime> {
  const before = await cpuTimeOf(stowage)
  await work()
  const after = await cpuTimeOf(stowage)
  return { node: (after.node - before.node) / operations, server: (after.server - before.server) / operations }
}

/**
 * Resolves when the nodes and their servers have nothing left to do: two seconds in a row, each pair takes next to no CPU.
 * @returns how long it took, in seconds
 */
export async function settled(nodes: readonly Stowage[]): Promise<number> {
  const started = performance.now()
  for (let quiet = 0; quiet < 2; ) {
    if (performance.now() - started > settleMsMax) throw new Error('the nodes do not come to rest')
    const shares = await Promise.all(nodes.map(shareOfASecond))
    quiet = shares.every((share) => share < idleShareMax) ? quiet + 1 : 0
  }
  return (performance.now() - started) / 1000
}

async function shareOfASecond(stowage: Stowage): Promise<number> {
  const started = performance.now()
  const used = await cpuOf(stowage, 1, () => delay(1_000))
  return (used.node + used.server) / (performance.now() - started)
}

async function cpuMs(pid: number): Promise<number> {
  if (process.platform !== 'linux') {
    const { stdout } = await promisify(execFile)('ps', ['-o', 'time=', '-p', String(pid)])
    return (
      stdout
        .trim()
        .split(':')
        .reduce((sum, part) => sum * 60 + Number(part), 0) * 1000
    )
  }
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  // proc(5): the command's name, in brackets, may hold anything; user and system time are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond
}
