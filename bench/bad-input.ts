import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import type { HashedBlock } from '../src/blocks/block.ts'
import type { Abortable } from '../src/blocks/blockstore.ts'
import { MemoryBlockstore } from '../src/blocks/memory-blockstore.ts'
import { MiB } from '../src/lib/units.ts'
import { resolveServerBinary } from '../src/nats/server-binary.ts'
import { bombs } from '../test/support/bombs.ts'
import { carV1 } from '../test/support/cars.ts'
import { type NodeProcess, startNodeProcess } from '../test/support/node-process.ts'

// npm run bench:bad-input: what bad input costs a node that runs: time and CPU until the answer, resident memory at its
// highest, and how soon the node is idle after the client has left. Linux (it reads /proc).

const bounds = { answerMs: 100, bombCpuMs: 1000, rssBytes: 64 * MiB, idleMs: 1000 }
const takenBytes = 64 * 1024
const ticksPerSecond = 100

class RecordingStore extends MemoryBlockstore {
  readonly blocks: HashedBlock[] = []

  override async put(block: HashedBlock, options: Abortable): Promise<boolean> {
    this.blocks.push(block)
    return await super.put(block, options)
  }
}

const folder = await mkdtemp(join(tmpdir(), 'stowage-bad-input-'))
const { path: natsServer } = await resolveServerBinary({ env: process.env })
const node = await startNodeProcess({ dataDir: join(folder, 'data'), natsServer, env: { STOWAGE_LOG: 'silent' } })
let beyond = 0
try {
  await measureSmall(node)
  await measureBombs(node)
  console.log(beyond === 0 ? 'all within the bounds' : `${beyond} beyond the bounds (marked !)`)
  process.exitCode = beyond === 0 ? 0 : 1
} finally {
  await node.end('SIGTERM')
  await rm(folder, { recursive: true, force: true, maxRetries: 10 })
}

async function measureSmall(node: NodeProcess): Promise<void> {
  const cid = await add(node, 'application/octet-stream', Buffer.from('hello world'))
  const rows: readonly (readonly [what: string, target: string, headers?: string])[] = [
    ['8: 8 KiB of base32', `/ipfs/ba${'f'.repeat(8000)}`],
    ['9: base58 of 8 KB', `/ipfs/z${'2'.repeat(8000)}`],
    ['9: base58 of 50 KB', `/ipfs/z${'2'.repeat(50_000)}`],
    ['31: 10,000 segments', `/ipfs/${cid}${'/a'.repeat(10_000)}`],
    ['31: 4,000 segments', `/ipfs/${cid}${'/a'.repeat(4000)}`],
    ['32: a URL of 64 KiB', `/${'a'.repeat(65_536)}`],
    ['37: a file name of 8 KB', `/ipfs/${cid}?filename=${'x'.repeat(8000)}`],
    ['43: an Accept of 1,000 types', `/ipfs/${cid}`, `Accept: ${'a/x,'.repeat(1000)}a/x\r\n`],
    ['49: 1,000 ranges', `/ipfs/${cid}`, `Range: bytes=${'0-,'.repeat(999)}0-\r\n`],
    ['53: 2,000 tags', `/ipfs/${cid}`, `If-None-Match: ${'"x", '.repeat(2000)}"y"\r\n`],
    ['53: 10,000 tags', `/ipfs/${cid}`, `If-None-Match: ${'"x", '.repeat(10_000)}"y"\r\n`],
    ['58: a header of 20 KB', `/ipfs/${cid}`, `X-Long: ${'x'.repeat(20_000)}\r\n`],
  ]
  for (const [what, target, headers] of rows) {
    // The first one of each kind may meet code that has not run yet.
    await ask(node, target, headers)
    await measure(node, what, () => ask(node, target, headers), { ms: bounds.answerMs })
  }
}

async function measureBombs(node: NodeProcess): Promise<void> {
  for (const bomb of bombs) {
    const store = new RecordingStore()
    const cid = await bomb.build(store)
    await add(node, 'application/vnd.ipld.car', carV1([cid], store.blocks), '?partial=true')
    const bytes = store.blocks.reduce((sum, block) => sum + block.bytes.byteLength, 0)
    console.log(`${bomb.group}: ${bomb.what}: ${store.blocks.length} blocks, ${bytes} bytes`)
    for (const [target] of bomb.asks) {
      await measure(node, `  ${target || '(as it is)'}`, () => ask(node, `/ipfs/${cid}${target}`), {
        cpuMs: bounds.bombCpuMs,
      })
    }
  }
}

async function measure(
  node: NodeProcess,
  what: string,
  work: () => Promise<string>,
  most: { readonly ms?: number; readonly cpuMs?: number },
): Promise<void> {
  await writeFile(`/proc/${node.pid}/clear_refs`, '5')
  const [rss, cpu, began] = [await rssOf(node), await cpuMsOf(node), performance.now()]
  const outcome = await work()
  const ms = performance.now() - began
  const cpuMs = (await cpuMsOf(node)) - cpu
  const idleMs = await untilIdle(node)
  const rssBytes = (await rssOf(node, 'VmHWM')) - rss
  const within =
    ms <= (most.ms ?? Infinity) &&
    cpuMs <= (most.cpuMs ?? Infinity) &&
    rssBytes <= bounds.rssBytes &&
    idleMs <= bounds.idleMs
  if (!within) beyond++
  const figures = [
    `${ms.toFixed(1)} ms`,
    `${cpuMs} ms CPU`,
    `${(rssBytes / MiB).toFixed(1)} MiB`,
    `idle after ${idleMs} ms`,
  ]
  console.log(`${within ? ' ' : '!'} ${what.padEnd(46)} ${outcome.padEnd(8)} ${figures.join(', ')}`)
}

/** The status; with `+` when the answer went on and was left, `cut` when the node ended it without its end. */
function ask(node: NodeProcess, target: string, headers = ''): Promise<string> {
  const socket = connect(Number(new URL(node.gatewayUrl).port), '127.0.0.1')
  return new Promise((resolve) => {
    let bytes = 0
    let head = ''
    socket.on('error', () => undefined)
    socket.on('data', (part: Buffer) => {
      if (head === '') head = part.toString('latin1', 9, 12)
      bytes += part.byteLength
      if (bytes < takenBytes) return
      socket.destroy()
      resolve(`${head}+`)
    })
    socket.once('close', () => resolve(head === '' ? 'cut' : head))
    const fields = `Host: 127.0.0.1\r\nConnection: close\r\n${headers.startsWith('Accept') ? '' : 'Accept: */*\r\n'}${headers}`
    socket.write(`GET ${target} HTTP/1.1\r\n${fields}\r\n`)
  })
}

async function add(node: NodeProcess, type: string, body: Buffer, query = ''): Promise<string> {
  const reply = await fetch(`${node.apiUrl}/api/v1/objects${query}`, {
    method: 'POST',
    body: new Uint8Array(body),
    headers: { 'content-type': type, authorization: `Bearer ${node.token}` },
  })
  if (!reply.ok) throw new Error(`${reply.status} ${await reply.text()}`)
  return ((await reply.json()) as { cid: CID }).cid.toString()
}

async function rssOf({ pid }: NodeProcess, field = 'VmRSS'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
}

async function cpuMsOf({ pid }: NodeProcess): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * (1000 / ticksPerSecond)
}

/** Until the node takes no CPU for 100 ms, but for what it always does; in milliseconds. */
async function untilIdle(node: NodeProcess): Promise<number> {
  const began = performance.now()
  for (let before = await cpuMsOf(node); ; ) {
    await delay(100)
    const now = await cpuMsOf(node)
    if (now - before <= 10) return Math.max(0, Math.round(performance.now() - began - 100))
    before = now
    if (performance.now() - began > 30_000) return Infinity
  }
}
