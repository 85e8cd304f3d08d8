import { formatBytes } from '../src/lib/units.ts'
import { startBareHttp } from './harness/bare-http.ts'
import { type Bench, notOnPath } from './harness/bench.ts'
import { coldKind, dropPageCache } from './harness/cold.ts'
import type { HttpResult } from './harness/http-job.ts'
import { type Kubo, startKubo } from './harness/kubo.ts'
import type { JobResult } from './harness/nats-job.ts'
import { startBareNats } from './harness/nats-server.ts'
import { runJob } from './harness/run-job.ts'
import { type Stowage, startStowage } from './harness/stowage.ts'

/** How fast does a large file come out of the gateway? */
export async function get(bench: Bench): Promise<void> {
  const { sizeBytes } = bench
  const rate = ({ seconds }: JobResult) => sizeBytes / 1e6 / seconds
  const whole = (result: HttpResult) => {
    if (result.bytes !== sizeBytes) throw new Error(`${result.bytes} of ${sizeBytes} bytes received`)
    return rate(result)
  }
  const stowage = await startStowage(bench)
  const large = await startStowage(bench, { STOWAGE_CACHE_BYTES: '2GiB' })
  const kubo = await startKubo({ sync: true })
  const nats = await startBareNats(bench)
  const bareHttp = await startBareHttp(sizeBytes)
  const ofStowage = `/ipfs/${(await stowage.add(sizeBytes, 'application/octet-stream')).cid}`
  const ofLarge = `/ipfs/${(await large.add(sizeBytes, 'application/octet-stream')).cid}`
  const ofKubo = kubo === undefined ? '' : `/ipfs/${await addToKubo(kubo, sizeBytes)}`
  await runJob('nats-client.ts', { kind: 'publish', url: nats.url(), bytes: sizeBytes, stream: 'get' })
  const cold = async (server: { restart(): Promise<void> }) => {
    await server.restart()
    dropPageCache()
  }
  const directGet = () =>
    runJob<JobResult>('nats-client.ts', { kind: 'direct-get', url: nats.url(), bytes: sizeBytes, stream: 'get' })

  await bench.measure(`GET ${formatBytes(sizeBytes)}, cold`, 'MB/s', [
    {
      label: `stowage, ${coldKind()}`,
      ours: true,
      run: async () => {
        await cold(stowage)
        return whole(await stowage.get(ofStowage))
      },
    },
    {
      label: 'kubo gateway, cold',
      run:
        kubo === undefined
          ? notOnPath
          : async () => {
              await cold(kubo)
              return whole(await kubo.get(ofKubo))
            },
    },
    {
      label: 'JetStream direct get, multi_last 16 MiB x 2, cold',
      run: async () => {
        await cold(nats)
        return rate(await directGet())
      },
    },
  ])
  const hot = (server: Stowage | Kubo, path: string) => async () => {
    await server.get(path)
    return whole(await server.get(path))
  }
  await bench.measure(`GET ${formatBytes(sizeBytes)}, hot (read once before)`, 'MB/s', [
    { label: 'stowage, CACHE_BYTES=2GiB', ours: true, run: hot(large, ofLarge) },
    { label: 'stowage, default cache (page cache hot)', ours: true, run: hot(stowage, ofStowage) },
    { label: 'kubo gateway', run: kubo === undefined ? notOnPath : hot(kubo, ofKubo) },
    { label: 'JetStream direct get', run: async () => rate(await directGet()) },
    {
      label: 'bare node:http, 1 MiB buffers',
      run: async () => whole(await runJob<HttpResult>('http-client.ts', { kind: 'download', url: bareHttp })),
    },
  ])
}

/** @returns the CID */
export async function addToKubo(kubo: Kubo, bytes: number): Promise<string> {
  const { reply } = await kubo.post('add?quieter=true&pin=false', bytes)
  return (JSON.parse(reply.trim().split('\n').at(-1) ?? '') as { Hash: string }).Hash
}
