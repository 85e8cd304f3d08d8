import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import type { Bench } from './harness/bench.ts'
import { type CpuTime, cpuTimeOf, settled } from './harness/cpu-time.ts'
import { type NamesJob, type NamesResult, nameOf } from './harness/names-job.ts'
import { runJob } from './harness/run-job.ts'
import { type Stowage, startStowage } from './harness/stowage.ts'

const few = 100
const perCommit = 100
const commitsAtOnce = 32
const rounds = 2_000
const pages = 200

/**
 * Does it stay quick with many names? Two nodes side by side, each with its own server: one with 100 names, one with
 * 100,000, asked in turn. `--names 1000000` for the long run.
 */
export async function names(bench: Bench): Promise<void> {
  const { values } = parseArgs({ strict: false, options: { names: { type: 'string', default: '100000' } } })
  const count = Number(values.names)
  const small = await startStowage(bench)
  const large = await startStowage(bench)
  await setNames(small, few)
  const perSecond = await setNames(large, count)
  console.log(`set ${shown(count)} names, ${perCommit} a commit: ${Math.round(perSecond)} names/s`)
  console.log(`at rest ${(await settled([small, large])).toFixed(0)} s later; ${machine()}`)
  await measure(small, large, count)

  const restarted = performance.now()
  await large.restart()
  const readyMs = performance.now() - restarted
  const firstPage = await timed(large, 'names?prefix=bench/&limit=1000')
  const firstGet = await timed(large, `names/${nameOf(1)}`)
  console.log(
    `restart until ready ${Math.round(readyMs)} ms, then the first page ${firstPage}, the first get ${firstGet}`,
  )
  // It too, so that both have run for the same time when they are compared.
  await small.restart()
  console.log(`at rest ${(await settled([small, large])).toFixed(0)} s later; ${machine()}`)
  await measure(small, large, count)
  console.log('')
}

async function measure(small: Stowage, large: Stowage, count: number): Promise<void> {
  const nodes = [
    { stowage: small, names: few },
    { stowage: large, names: count },
  ]
  for (const [kind, label] of [
    ['bare', 'a reply that asks nobody (/healthz)'],
    ['get', 'get by name'],
  ] as const) {
    const asked = nodes.map(({ stowage, names }) => ({ apiUrl: stowage.node().apiUrl, names }))
    await run({ kind, nodes: asked, rounds: rounds / 10 })
    const { cpu, latencies } = await run({ kind, nodes: asked, rounds }, nodes, rounds)
    const lines = nodes.map(({ names }, at) => `${shown(names)} names ${line(latencies[at] ?? [], cpu[at])}`)
    console.log(`${label}: ${lines.join('; ')}; ratio ${ratios(latencies)}`)
  }
  const { apiUrl } = large.node()
  await run({ kind: 'page', apiUrl, pages: pages / 10 })
  const { cpu, latencies, bytes } = await run({ kind: 'page', apiUrl, pages }, nodes.slice(1), pages)
  console.log(
    `page of 1,000 of ${shown(count)} names (${Math.round(bytes / 1024)} KiB): ${line(latencies[0] ?? [], cpu[0])}`,
  )
}

async function run(job: NamesJob, nodes: readonly { readonly stowage: Stowage }[] = [], operations = 1) {
  const cpuNow = () => Promise.all(nodes.map(({ stowage }) => cpuTimeOf(stowage)))
  const before = await cpuNow()
  const result = await runJob<NamesResult>('names-client.ts', job)
  const after = await cpuNow()
  const cpu = after.map(({ node, server }, at) => ({
    node: (node - (before[at]?.node ?? 0)) / operations,
    server: (server - (before[at]?.server ?? 0)) / operations,
  }))
  return { ...result, cpu }
}

const shown = (count: number): string => count.toLocaleString('en')
const machine = (): string => `load of the machine ${(loadavg()[0] ?? 0).toFixed(1)}`

function line(latencies: readonly number[], cpu: CpuTime | undefined): string {
  const ms = (share: number) => percentile(latencies, share).toFixed(2)
  const taken = cpu === undefined ? '' : `, CPU ${cpu.node.toFixed(2)} + ${cpu.server.toFixed(2)} ms (node + server)`
  return `p50 ${ms(0.5)}, p99 ${ms(0.99)} ms${taken}`
}

function ratios([small = [], large = []]: readonly (readonly number[])[]): string {
  const of = (share: number) => (percentile(large, share) / percentile(small, share)).toFixed(2)
  return `p50 ${of(0.5)}, p99 ${of(0.99)}`
}

const percentile = (ascending: readonly number[], share: number): number =>
  ascending[Math.floor((ascending.length - 1) * share)] ?? 0

async function timed(stowage: Stowage, path: string): Promise<string> {
  const started = performance.now()
  const response = await fetch(`${stowage.node().apiUrl}/api/v1/${path}`)
  await response.arrayBuffer()
  if (!response.ok) throw new Error(`${path}: ${response.status}`)
  return `${Math.round(performance.now() - started)} ms`
}

/** @returns names a second */
async function setNames(stowage: Stowage, count: number): Promise<number> {
  const { cid } = await stowage.add(1024, 'application/octet-stream')
  const { apiUrl, token } = stowage.node()
  const started = performance.now()
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < count) {
      const first = next
      next += perCommit
      const changes = Array.from({ length: Math.min(perCommit, count - first) }, (_, i) => ({
        kind: 'set',
        name: nameOf(first + i),
        cid,
      }))
      const response = await fetch(`${apiUrl}/api/v1/names`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ changes }),
      })
      if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
      await response.arrayBuffer()
    }
  }
  await Promise.all(Array.from({ length: commitsAtOnce }, worker))
  return count / ((performance.now() - started) / 1000)
}
