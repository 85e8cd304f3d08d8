import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { KiB } from '../src/lib/units.ts'
import { type Bench, isOnPath, notOnPath } from './harness/bench.ts'
import type { EventsJob, EventsResult } from './harness/events-job.ts'
import { startBareNats } from './harness/nats-server.ts'
import { runJob } from './harness/run-job.ts'
import { startStowage } from './harness/stowage.ts'

const count = 50_000

/** How many durable events a second, how soon are they seen, and what does the read log cost? */
export async function events(bench: Bench): Promise<void> {
  const nats = await startBareNats(bench)
  const run = (kind: EventsJob['kind'], atOnce: number, events: number) => async (round: number) => {
    const job: EventsJob = { kind, url: nats.url(), domain: `d${kind}${atOnce}r${round}`, count: events, atOnce }
    return runJob<EventsResult>('events-client.ts', job)
  }
  const rate = (kind: EventsJob['kind'], atOnce: number, events: number) => async (round: number) =>
    events / (await run(kind, atOnce, events)(round)).seconds
  await bench.measure('durable events', 'events/s', [
    { label: 'event log, group commit, 1,024 at once', ours: true, run: rate('group', 1024, count) },
    { label: 'event log, group commit, 64 at once', ours: true, run: rate('group', 64, count) },
    { label: 'nats.js publish, 64 at once', run: rate('single', 64, count / 5) },
    { label: 'nats.js publish, one by one', run: rate('single', 1, count / 25) },
  ])
  for (const atOnce of [1, 64]) {
    const { latencies } = await run('latency', atOnce, atOnce === 1 ? 2_000 : 20_000)(bench.runs)
    const at = (share: number) => (latencies[Math.floor((latencies.length - 1) * share)] ?? 0).toFixed(2)
    console.log(
      `event visible to a subscriber after its ack, ${atOnce} at once (ms): p50 ${at(0.5)}, p99 ${at(0.99)}\n`,
    )
  }
  await readLog(bench)
}

async function readLog(bench: Bench): Promise<void> {
  const recording = await startStowage(bench)
  const silent = await startStowage(bench, { STOWAGE_READS_LOG: 'off' })
  const rate = (node: typeof recording, cid: string) => async () => {
    const url = `${node.node().gatewayUrl}/ipfs/${cid}`
    const { stdout } = await promisify(execFile)('wrk', ['-t1', '-c32', '-d5s', url])
    return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1])
  }
  const { cid } = await recording.add(KiB, 'application/octet-stream')
  const other = await silent.add(KiB, 'application/octet-stream')
  await bench.measure('GET 1 KiB, 32 connections, hot', 'requests/s', [
    { label: 'with the read log', ours: true, run: isOnPath('wrk') ? rate(recording, cid) : `wrk is ${notOnPath}` },
    { label: 'without', run: isOnPath('wrk') ? rate(silent, other.cid) : `wrk is ${notOnPath}` },
  ])
}
