import { randomBytes, randomInt } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import pino from 'pino'
import { hashBlock } from '../src/blocks/block.ts'
import { type NatsBlockstore, openNatsBlockstore } from '../src/blocks/nats-blockstore.ts'
import { scanShard } from '../src/blocks/scan-shard.ts'
import { verified } from '../src/blocks/verified.ts'
import { type Config, readConfig } from '../src/config.ts'
import { KiB, MiB } from '../src/lib/units.ts'
import { connectNats, type Nats } from '../src/nats/connection.ts'
import { BulkThread } from '../src/placement/bulk-thread.ts'
import type { Bench } from './harness/bench.ts'
import { atEnd } from './harness/cleanup.ts'
import { startBareNats } from './harness/nats-server.ts'

const waitMs = 10_000
const { signal } = new AbortController()

interface Open {
  readonly nats: Nats
  readonly config: Config
  readonly blocks: NatsBlockstore
}

interface Filled extends Open {
  readonly cids: readonly Cid[]
}

/**
 * How fast is a store hashed, and what does a get pay for it meanwhile? In one process, as in a node: gets in the main thread, the
 * scan in the thread of background work.
 */
export async function scrub(bench: Bench): Promise<void> {
  const server = await startBareNats(bench)
  const large = await fill(server.url(), 'large', bench.sizeBytes, MiB)
  const small = await fill(server.url(), 'small', bench.sizeBytes / 16, 4 * KiB)
  const files = await fill(server.url(), 'files', bench.sizeBytes, 256 * KiB)
  const { nats, store } = files.config
  const bulk = new BulkThread({ natsUrl: server.url(), nats, store, limits: readConfig({}).limits })
  atEnd(() => bulk.close())
  const cpuOfServer = () => cpuSecondsOf(server.pid())
  await bench.measure('hash every block of a store, as fast as it goes', 'MiB/s', [
    { label: 'blocks of 1 MiB, by the clock', ours: true, run: async () => (await scanAll(large)).mibPerSecond },
    {
      label: 'blocks of 1 MiB, by CPU of the node',
      ours: true,
      run: async () => (await scanAll(large)).mibPerCpuSecond,
    },
    {
      label: 'blocks of 1 MiB, by CPU of nats-server',
      run: async () => {
        const before = await cpuOfServer()
        const { mib } = await scanAll(large)
        return mib / ((await cpuOfServer()) - before)
      },
    },
    { label: 'blocks of 4 KiB, by the clock', ours: true, run: async () => (await scanAll(small)).mibPerSecond },
    {
      label: 'blocks of 4 KiB, by CPU of the node',
      ours: true,
      run: async () => (await scanAll(small)).mibPerCpuSecond,
    },
  ])
  for (const rate of [32 * MiB, 150 * MiB]) await pairs(bench, files, bulk, rate)
}

const windowMs = 500
const scannedShareMin = 0.7
const pairsPerRun = 40

/** Short windows, calm and scrubbed in turn, all of a run together: what else the machine does hits both alike. */
async function pairs(bench: Bench, store: Filled, bulk: BulkThread, rate: number): Promise<void> {
  const results: { calm: number; scrubbed: number }[] = []
  const run = async (round: number) => {
    const calm: number[] = []
    const scrubbed: number[] = []
    for (let pair = 0; pair < pairsPerRun; pair++) {
      calm.push(...(await getsFor(store, windowMs)))
      scrubbed.push(...(await whileScanning(store, bulk, rate, () => getsFor(store, windowMs))))
    }
    results[round] = { calm: p99(calm), scrubbed: p99(scrubbed) }
    return results[round].scrubbed / results[round].calm
  }
  await bench.measure(`p99 of gets of 256 KiB, 100 a second, while ${rate / MiB} MiB/s are hashed`, 'x', [
    { label: 'scrubbing / calm', ours: true, run },
    { label: 'calm, in ms', run: async (round) => results[round]?.calm ?? 0 },
    { label: 'scrubbing, in ms', run: async (round) => results[round]?.scrubbed ?? 0 },
  ])
}

const p99 = (values: number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.99)] ?? 0

async function fill(url: string, store: string, bytes: number, blockBytes: number): Promise<Filled> {
  const config = readConfig({}, { STORE: store, SHARDS: '4' })
  const nats = await connectNats(url, config.nats, pino({ level: 'silent' }))
  atEnd(() => nats.close())
  const blocks = await openNatsBlockstore(nats, config.layout, config.store)
  const writer = blocks.openWriter({ signal })
  const cids: Cid[] = []
  for (let left = bytes; left > 0; left -= blockBytes) {
    const block = hashBlock(randomBytes(blockBytes), 0x55)
    await writer.put(block)
    cids.push(block.cid)
  }
  await writer.flush()
  return { nats, config, blocks, cids }
}

type Cid = ReturnType<typeof hashBlock>['cid']

async function scanAll({ nats, blocks }: Open) {
  const started = performance.now()
  const cpu = process.cpuUsage()
  let bytes = 0
  for (const bucket of blocks.buckets) {
    for await (const page of scanShard(nats, blocks, bucket, { signal, waitMs })) {
      bytes += page.bytes
      if (page.findings.length > 0) throw new Error('a good block was taken for a bad one')
    }
  }
  const { user, system } = process.cpuUsage(cpu)
  const mib = bytes / MiB
  const seconds = (performance.now() - started) / 1000
  return { mib, mibPerSecond: mib / seconds, mibPerCpuSecond: (mib * 1e6) / (user + system) }
}

async function whileScanning({ blocks }: Open, bulk: BulkThread, rate: number, work: () => Promise<number[]>) {
  const stop = new AbortController()
  const at = { site: 'local', store: 'files', buckets: blocks.buckets, jetstreamDomain: undefined }
  const pace = { lane: 'scrub', bytesPerSecond: rate } as const
  let scanned = 0
  const onPage = async ({ bytes }: { readonly bytes: number }) => {
    scanned += bytes
  }
  const startedMs = performance.now()
  const scanning = (async () => {
    for (;;) {
      for (const shard of blocks.buckets.keys()) {
        await bulk.scan({ at, shard, fromSeq: 1, pace, graceMs: undefined }, { signal: stop.signal, onPage })
      }
    }
  })()
  const quiet = scanning.catch((error: unknown) => {
    if (!stop.signal.aborted) throw error
  })
  try {
    return await work()
  } finally {
    const share = scanned / ((rate * (performance.now() - startedMs)) / 1000)
    stop.abort(new Error('enough'))
    await quiet
    // Else what was measured is not what the title says.
    if (share < scannedShareMin) console.error(`only ${(share * 100).toFixed(0)} % of the rate was scanned`)
  }
}

/** Random gets at a set pace, whatever the others take. @returns what each took in ms, since it was due */
async function getsFor({ blocks, cids }: Filled, durationMs: number): Promise<number[]> {
  const safe = verified(blocks)
  const latencies: number[] = []
  const gets: Promise<void>[] = []
  const endMs = performance.now() + durationMs
  for (let dueMs = performance.now(); dueMs < endMs; dueMs += 10) {
    await delay(Math.max(0, dueMs - performance.now()))
    const cid = cids[randomInt(cids.length)]
    if (cid === undefined) break
    const started = dueMs
    gets.push(
      safe.get(cid, { signal }).then(() => {
        latencies.push(performance.now() - started)
      }),
    )
  }
  await Promise.all(gets)
  return latencies
}

/** Of a process, user and system, as /proc has it in ticks of 10 ms. */
async function cpuSecondsOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}
