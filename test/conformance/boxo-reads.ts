import { exportCar } from '../../src/dag/car-export.ts'
import { openPath } from '../../src/dag/open.ts'
import { MiB } from '../../src/lib/units.ts'
import { bytesOf, CountingStore, importDag, limits, pattern, signal } from '../support/dags.ts'
import type { NodeProcess } from '../support/node-process.ts'
import type { BoxoGateway } from './boxo-gateway.ts'

/** A read by way of boxo, and what has to come of it. */
interface Read {
  readonly method?: 'HEAD'
  readonly path: string
  readonly range?: string
  readonly status: number
  /** What the body has to hold; undefined = the bytes that our own gateway gives for the same read. */
  readonly holds?: readonly string[]
}

/** Long enough that 400 of them make a directory of shards, some of whose slots are empty. */
const longName = (n: number) => `${'a-long-name,-so-that-this-directory-is-a-HAMT-'.repeat(20)}${n}`

/**
 * Puts files into a node and reads them by way of boxo: whole, in part, listings of flat and of sharded directories, and what
 * is not there. @returns what differs from what it should be, a line each
 */
export async function readThroughBoxo(node: NodeProcess, boxo: BoxoGateway): Promise<readonly string[]> {
  const root = await putTree(node)
  const wrong: string[] = []
  for (const read of readsOf(root)) {
    const { method = 'GET', path, range = '' } = read
    const problem = await check(node, boxo, read)
    if (problem !== undefined) wrong.push(`${method} ${shortened(path)} ${range}: ${problem}`)
  }
  return wrong
}

const shortened = (path: string): string => (path.length <= 120 ? path : `${path.slice(0, 90)}…${path.slice(-20)}`)

/** How many reads there are. */
export const readsCount = readsOf('').length

function readsOf(root: string): readonly Read[] {
  const at = (path: string) => `/ipfs/${root}/${path}`
  const ranges = ['bytes=0-0', 'bytes=262143-262145', 'bytes=1000000-', 'bytes=-17', `bytes=0-${3 * MiB}`]
  // boxo v0.42.1 panics at HEAD of any file of several blocks: its CAR backend takes the end of what it reads for a failure.
  const heads = ['small.txt', 'empty', 'site/', '', 'many/', `many/${longName(7)}`]
  return [
    ...heads.map((path) => ({ method: 'HEAD' as const, path: at(path), status: 200 })),
    ...['nowhere', `many/${longName(500)}`].map((path) => ({ method: 'HEAD' as const, path: at(path), status: 404 })),
    { path: at('small.txt'), status: 200 },
    { path: at('empty'), status: 200 },
    { path: at('big.bin'), status: 200 },
    ...ranges.map((range) => ({ path: at('big.bin'), range, status: 206 })),
    { path: at('deep/er/%C3%A4%20b%25.txt'), status: 200 },
    { path: at('site/'), status: 200 },
    { path: at(''), status: 200, holds: ['Index of', 'big.bin', 'small.txt', 'deep', 'many', 'site'] },
    { path: at('deep/'), status: 200, holds: ['Index of', '>er<'] },
    { path: at('deep/er/'), status: 200, holds: ['Index of', '.txt'] },
    { path: at('many/'), status: 200, holds: [0, 7, 399].map((n) => `>${longName(n)}<`) },
    { path: at(`many/${longName(7)}`), status: 200 },
    ...Array.from({ length: 8 }, (_, n) => ({ path: at(`many/${longName(400 + n)}`), status: 404, holds: [] })),
    { path: at('nowhere'), status: 404, holds: [] },
    { path: at('deep/nowhere/at/all'), status: 404, holds: [] },
    { path: at('small.txt/below'), status: 404, holds: [] },
    { path: at('big.bin/below'), status: 404, holds: [] },
  ]
}

async function putTree(node: NodeProcess): Promise<string> {
  const entries = [
    { path: 'd/small.txt', content: Buffer.from('hello') },
    { path: 'd/empty', content: new Uint8Array() },
    { path: 'd/big.bin', content: pattern(3 * MiB) },
    { path: 'd/deep/er/ä b%.txt', content: Buffer.from('deeper') },
    { path: 'd/site/index.html', content: Buffer.from('<h1>a page</h1>') },
    ...Array.from({ length: 400 }, (_, n) => ({ path: `d/many/${longName(n)}`, content: Buffer.from(`${n}`) })),
  ]
  const store = new CountingStore()
  const root = await importDag(store, entries, { chunkBytes: MiB / 4 })
  const target = await openPath({ root, segments: [] }, store, { signal, limits })
  const car = await bytesOf(exportCar(target, store, { signal, limits, readAheadBytes: MiB }))
  const reply = await fetch(`${node.apiUrl}/api/v1/objects`, {
    method: 'POST',
    body: new Uint8Array(car),
    headers: { 'content-type': 'application/vnd.ipld.car', authorization: `Bearer ${node.token}` },
  })
  if (!reply.ok) throw new Error(`the files were not taken: ${reply.status} ${await reply.text()}`)
  return `${root}`
}

async function check(
  node: NodeProcess,
  boxo: BoxoGateway,
  { method, path, range, status, holds }: Read,
): Promise<string | undefined> {
  const headers: Record<string, string> = range === undefined ? {} : { range }
  const reply = await fetch(boxo.url + path, { method: method ?? 'GET', headers })
  const body = Buffer.from(await reply.arrayBuffer())
  if (reply.status !== status) return `${reply.status} in place of ${status}: ${body.toString().slice(0, 200)}`
  if (method === 'HEAD') return undefined
  if (holds !== undefined) {
    const lacking = holds.find((part) => !body.includes(part))
    return lacking === undefined ? undefined : `it lacks ${lacking}`
  }
  const own = Buffer.from(await (await fetch(node.gatewayUrl + path, { headers })).arrayBuffer())
  return own.equals(body) ? undefined : `${body.byteLength} bytes that are not our ${own.byteLength}`
}
