import type { Bench } from './harness/bench.ts'
import type { JobResult } from './harness/nats-job.ts'
import { startBareNats } from './harness/nats-server.ts'
import { runJob } from './harness/run-job.ts'

/** Below what a bucket takes: each get of `@nats-io/obj` leaves a consumer for five minutes, and 1,000 is the limit. */
const objectGets = 900
const count = 10_000

/** What does the blockstore do with small blocks, against the Object Store's own client? */
export async function putGet1k(bench: Bench): Promise<void> {
  const nats = await startBareNats(bench)
  const run = (client: 'obj' | 'blocks', kind: 'put-small' | 'get-small', atOnce: number, blocks: number) => {
    return async (round: number) => {
      const job = { kind, url: nats.url(), bucket: `${client}${atOnce}-${round}`, count: blocks, atOnce }
      const { seconds } = await runJob<JobResult>(`${client}-client.ts`, job)
      return blocks / seconds
    }
  }
  await bench.measure('put blocks of 1 KiB, durable', 'blocks/s', [
    { label: 'stowage blockstore, 256 at once', ours: true, run: run('blocks', 'put-small', 256, count) },
    { label: 'stowage blockstore, 32 at once', ours: true, run: run('blocks', 'put-small', 32, count) },
    { label: '@nats-io/obj putBlob, 32 at once', run: run('obj', 'put-small', 32, count) },
    { label: 'stowage blockstore, one by one', ours: true, run: run('blocks', 'put-small', 1, count / 4) },
    { label: '@nats-io/obj putBlob, one by one', run: run('obj', 'put-small', 1, count / 4) },
  ])
  await bench.measure('get blocks of 1 KiB, not cached', 'blocks/s', [
    { label: 'stowage blockstore, 256 at once', ours: true, run: run('blocks', 'get-small', 256, count) },
    { label: 'stowage blockstore, 32 at once', ours: true, run: run('blocks', 'get-small', 32, count) },
    { label: '@nats-io/obj getBlob, 32 at once', run: run('obj', 'get-small', 32, objectGets) },
    { label: 'stowage blockstore, one by one', ours: true, run: run('blocks', 'get-small', 1, count / 4) },
    { label: '@nats-io/obj getBlob, one by one', run: run('obj', 'get-small', 1, objectGets) },
  ])
}
