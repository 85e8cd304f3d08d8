import { parseArgs } from 'node:util'
import type { Bench } from './harness/bench.ts'
import { type Stowage, startStowage } from './harness/stowage.ts'

const perCommit = 100
const commitsAtOnce = 32
const tries = 200

/** Does it stay quick with many names? `--names 1000000` for the long run. */
export async function names(bench: Bench): Promise<void> {
  const { values } = parseArgs({ strict: false, options: { names: { type: 'string', default: '100000' } } })
  const count = Number(values.names)
  const stowage = await startStowage(bench)
  const { cid } = await stowage.add(1024, 'application/octet-stream')
  await setNames(stowage, cid, 100)
  console.log(`get by name, 100 names (ms): ${await gets(stowage, 100)}`)
  const started = performance.now()
  await setNames(stowage, cid, count)
  const seconds = (performance.now() - started) / 1000
  console.log(`set ${count.toLocaleString('en')} names, ${perCommit} a commit: ${Math.round(count / seconds)} names/s`)
  console.log(`get by name, ${count.toLocaleString('en')} names (ms): ${await gets(stowage, count)}`)
  console.log(`page of 1,000 names (ms): ${await pages(stowage)}`)
  const restarted = performance.now()
  await stowage.restart()
  const readyMs = performance.now() - restarted
  const firstPage = performance.now()
  await page(stowage, '')
  console.log(
    `restart until ready ${Math.round(readyMs)} ms, first page after it ${Math.round(performance.now() - firstPage)} ms\n`,
  )
}

async function setNames(stowage: Stowage, cid: string, count: number): Promise<void> {
  const { apiUrl, token } = stowage.node()
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
}

const nameOf = (index: number): string => `bench/${String(index % 100).padStart(2, '0')}/file-${index}.txt`

async function gets(stowage: Stowage, count: number): Promise<string> {
  return percentiles(async (i) => {
    const name = nameOf((i * 7919) % count)
    const response = await fetch(`${stowage.node().apiUrl}/api/v1/names/${name}`)
    if (!response.ok) throw new Error(`${name}: ${response.status}`)
    await response.arrayBuffer()
  })
}

async function pages(stowage: Stowage): Promise<string> {
  let cursor = ''
  return percentiles(async () => {
    cursor = (await page(stowage, cursor)) ?? ''
  })
}

async function page(stowage: Stowage, cursor: string): Promise<string | undefined> {
  const query = new URLSearchParams({ prefix: 'bench/', limit: '1000', ...(cursor === '' ? {} : { cursor }) })
  const response = await fetch(`${stowage.node().apiUrl}/api/v1/names?${query}`)
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
  const { names, next } = (await response.json()) as { names: unknown[]; next?: string }
  if (names.length === 0) throw new Error('an empty page')
  return next
}

async function percentiles(work: (index: number) => Promise<void>): Promise<string> {
  const times: number[] = []
  for (let i = 0; i < tries; i++) {
    const started = performance.now()
    await work(i)
    times.push(performance.now() - started)
  }
  times.sort((a, b) => a - b)
  const at = (share: number) => (times[Math.floor((times.length - 1) * share)] ?? 0).toFixed(1)
  return `p50 ${at(0.5)}, p99 ${at(0.99)}`
}
