import { formatBytes } from '../src/lib/units.ts'
import { type Bench, notOnPath } from './harness/bench.ts'
import { type Kubo, startKubo } from './harness/kubo.ts'
import type { JobResult } from './harness/nats-job.ts'
import { startBareNats } from './harness/nats-server.ts'
import { runJob } from './harness/run-job.ts'
import { startStowage } from './harness/stowage.ts'

/** How fast does a large file become durable over HTTP? */
export async function add(bench: Bench): Promise<void> {
  const { sizeBytes } = bench
  const stowage = await startStowage(bench)
  const synced = await startKubo({ sync: true })
  const unsynced = await startKubo({ sync: false })
  const nats = await startBareNats(bench)
  const rate = ({ seconds }: JobResult) => sizeBytes / 1e6 / seconds
  const kuboRun = (kubo: Kubo | undefined) =>
    kubo === undefined ? notOnPath : async () => rate(await kubo.post('add?quieter=true&pin=false', sizeBytes))
  await bench.measure(`add ${formatBytes(sizeBytes)} over HTTP`, 'MB/s', [
    {
      label: 'stowage, durable',
      ours: true,
      run: async () => rate(await stowage.add(sizeBytes, 'application/octet-stream')),
    },
    { label: 'kubo, flatfs sync on', run: kuboRun(synced) },
    { label: 'kubo, flatfs sync off', run: kuboRun(unsynced) },
    {
      label: 'JetStream publish, 1 MiB, window 16 MiB',
      run: async (round) => {
        const job = { kind: 'publish', url: nats.url(), bytes: sizeBytes, stream: `publish${round}` }
        return rate(await runJob<JobResult>('nats-client.ts', job))
      },
    },
    {
      label: '@nats-io/obj put',
      run: async (round) => {
        const job = { kind: 'put', url: nats.url(), bytes: sizeBytes, bucket: `put${round}` }
        return rate(await runJob<JobResult>('obj-client.ts', job))
      },
    },
  ])
}
