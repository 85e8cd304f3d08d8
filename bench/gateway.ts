import { readFileSync } from 'node:fs'
import { KiB, MiB } from '../src/lib/units.ts'
import { nameOf } from '../test/support/huge-directory.ts'
import { addToKubo } from './get.ts'
import { type Bench, notOnPath, type Row } from './harness/bench.ts'
import { coldKind, dropPageCache } from './harness/cold.ts'
import { type DirectoryCar, filesCar, hugeDirectoryCar } from './harness/directories.ts'
import type { HttpResult } from './harness/http-job.ts'
import { type Kubo, startKubo } from './harness/kubo.ts'
import { type Load, loadGenerator, requestRate } from './harness/request-rate.ts'
import { type Stowage, startStowage } from './harness/stowage.ts'

const connections = 32
const html = 'text/html'
const car = 'application/vnd.ipld.car'

interface Peers {
  readonly stowage: Stowage
  readonly kubo: Kubo | undefined
}

/** How fast does the gateway answer, beside Kubo's, with the same content? */
export async function gateway(bench: Bench): Promise<void> {
  const peers = { stowage: await startStowage(bench), kubo: await startKubo({ sync: true }) }
  const thousand = await filesCar(1000)
  const tenThousand = await filesCar(10_000)
  const large = await hugeDirectoryCar(100_000)
  for (const { file } of [thousand, tenThousand, large]) await addCar(peers, file)

  for (const [label, bytes, search] of [
    ['GET 1 KiB', KiB, ''],
    ['GET 1 KiB, ?format=raw', KiB, '?format=raw'],
    ['GET 1 MiB', MiB, ''],
  ] as const) {
    const { cid } = await peers.stowage.add(bytes, 'application/octet-stream')
    const ofKubo = peers.kubo === undefined ? '' : await addToKubo(peers.kubo, bytes)
    await rates(bench, peers, label, [`/ipfs/${cid}${search}`, `/ipfs/${ofKubo}${search}`])
  }
  const listing = `/ipfs/${thousand.root}/`
  await rates(bench, peers, 'listing of 1,000 entries', [listing, listing], { connections, accept: html })
  // Pages that differ in their query are written anew; Kubo, which has no such query, writes each anew.
  const queries = Array.from({ length: 500 }, (_, index) => `?limit=${2000 + index}`)
  await rates(bench, peers, 'the same, written anew each time', [listing, listing], {
    connections,
    accept: html,
    paths: queries,
  })
  const paths = Array.from({ length: 2000 }, (_, index) => nameOf(index * 50))
  const lookUp = `/ipfs/${large.root}/`
  await rates(bench, peers, 'one of 100,000 entries by its path', [lookUp, lookUp], { connections, paths })
  await cars(bench, peers, tenThousand)
  await hugeListing(bench)
}

async function addCar({ stowage, kubo }: Peers, file: string): Promise<void> {
  await stowage.add(file, car)
  await kubo?.post('dag/import?pin-roots=false', file)
}

/** Hot: wrk asks for the same again and again. */
async function rates(
  bench: Bench,
  { stowage, kubo }: Peers,
  label: string,
  [ours, theirs]: readonly [string, string],
  load: Load = { connections },
): Promise<void> {
  await bench.measure(`${label}, ${load.connections} connections, hot, ${loadGenerator()}`, 'requests/s', [
    { label: 'stowage', ours: true, run: () => requestRate(`${stowage.node().gatewayUrl}${ours}`, load) },
    { label: 'kubo', run: kubo === undefined ? notOnPath : () => requestRate(`${kubo.gatewayUrl()}${theirs}`, load) },
  ])
}

async function cars(bench: Bench, { stowage, kubo }: Peers, { root }: DirectoryCar): Promise<void> {
  const path = `/ipfs/${root}?format=car`
  const rate = ({ seconds }: HttpResult) => 10_000 / seconds
  const cold = (server: Stowage | Kubo) => async () => {
    await server.restart()
    dropPageCache()
    return rate(await server.get(path))
  }
  const hot = (server: Stowage | Kubo) => async () => {
    await server.get(path)
    return rate(await server.get(path))
  }
  const row = (label: string, run: (server: Stowage | Kubo) => () => Promise<number>): Row[] => [
    { label: `stowage, ${label}`, ours: true, run: run(stowage) },
    { label: `kubo, ${label}`, run: kubo === undefined ? notOnPath : run(kubo) },
  ]
  const title = 'CAR of a directory of 10,000 files of 1 KiB'
  await bench.measure(title, 'files/s', [...row(coldKind(), cold), ...row('hot', hot)])
}

/** Kubo shows a directory on one page, however large: there is nothing to compare. */
async function hugeListing(bench: Bench): Promise<void> {
  const { root, file, blocks } = await hugeDirectoryCar(1_000_000)
  const stowage = await startStowage(bench)
  const other = await filesCar(1000)
  await stowage.add(file, car)
  await stowage.add(other.file, car)
  await stowage.restart()
  dropPageCache()
  // Not the very first request of a process.
  await stowage.get(`/ipfs/${other.root}/`)
  const base = `${stowage.node().gatewayUrl}/ipfs/${root}/`
  const times: number[] = []
  let entries = 0
  for (let next: string | undefined = ''; next !== undefined; ) {
    const start = performance.now()
    const page = await (await fetch(base + next, { headers: { accept: html } })).text()
    times.push(performance.now() - start)
    entries += page.split('<tr><td').length - 1
    next = /rel="next" href="([^"]*)"/.exec(page)?.[1]?.replaceAll('&amp;', '&')
  }
  const sorted = times.toSorted((a, b) => a - b)
  const at = (share: number) => `${sorted[Math.floor(share * (sorted.length - 1))]?.toFixed(0)} ms`
  console.log(`a directory of 1,000,000 entries in ${blocks} blocks, page by page, ${coldKind()}
  first page ${times[0]?.toFixed(0)} ms, median ${at(0.5)}, 99th of 100 ${at(0.99)}, slowest ${at(1)}
  ${times.length} pages, ${entries} entries, node ${residentMiB(stowage.node().pid)} MiB\n`)
}

function residentMiB(pid: number): string {
  try {
    const kib = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return String(Math.round(Number(kib) / KiB))
  } catch {
    return '?'
  }
}
