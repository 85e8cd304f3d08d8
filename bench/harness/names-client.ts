import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import { type NamesJob, type NamesResult, nameOf, namesPerPage } from './names-job.ts'

/** A process of its own: see run-job.ts. The job is the first argument, the result one line of JSON. */
const job = JSON.parse(process.argv[2] ?? '') as NamesJob
const agent = new Agent({ keepAlive: true, maxSockets: 1 })
process.stdout.write(JSON.stringify(await run(job)))
agent.destroy()

function run(task: NamesJob): Promise<NamesResult> {
  return task.kind === 'page' ? pages(task) : gets(task)
}

async function gets({ kind, nodes, rounds }: NamesJob & { kind: 'get' | 'bare' }): Promise<NamesResult> {
  const latencies = nodes.map((): number[] => [])
  let bytes = 0
  for (let round = 0; round < rounds; round++) {
    const order = [...nodes.keys()]
    if (round % 2 === 1) order.reverse()
    for (const at of order) {
      const { apiUrl, names } = nodes[at] ?? { apiUrl: '', names: 1 }
      // A prime, so that all names have their turn, far from each other.
      const path = kind === 'get' ? `/api/v1/names/${nameOf((round * 7919) % names)}` : '/healthz'
      const reply = await timed(`${apiUrl}${path}`)
      latencies[at]?.push(reply.ms)
      bytes = reply.body.byteLength
    }
  }
  return { latencies: latencies.map(ascending), bytes }
}

async function pages({ apiUrl, pages: count }: NamesJob & { kind: 'page' }): Promise<NamesResult> {
  const latencies: number[] = []
  let cursor: string | undefined
  let bytes = 0
  while (latencies.length < count) {
    const query = new URLSearchParams({ prefix: 'bench/', limit: String(namesPerPage) })
    if (cursor !== undefined) query.set('cursor', cursor)
    const reply = await timed(`${apiUrl}/api/v1/names?${query}`)
    const { names, next } = JSON.parse(reply.body.toString('utf8')) as { names: unknown[]; next?: string }
    if (next !== undefined && names.length !== namesPerPage) throw new Error(`a page of ${names.length} names`)
    // The last page may be a short one.
    if (names.length === namesPerPage) latencies.push(reply.ms)
    bytes = Math.max(bytes, reply.body.byteLength)
    cursor = next
  }
  return { latencies: [ascending(latencies)], bytes }
}

async function timed(url: string): Promise<{ readonly ms: number; readonly body: Buffer }> {
  const started = performance.now()
  const [response] = (await once(get(url, { agent }), 'response')) as [IncomingMessage]
  const parts: Buffer[] = []
  response.on('data', (part: Buffer) => parts.push(part))
  await once(response, 'end')
  const ms = performance.now() - started
  if (response.statusCode !== 200) throw new Error(`Error: ${url} answered ${response.statusCode}`)
  return { ms, body: Buffer.concat(parts) }
}

function ascending(values: readonly number[]): number[] {
  return [...values].sort((a, b) => a - b)
}
