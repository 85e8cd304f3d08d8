import { KiB } from '../src/lib/units.ts'
import { addToKubo } from './get.ts'
import { startBareHttp } from './harness/bare-http.ts'
import { type Bench, notOnPath } from './harness/bench.ts'
import { startKubo } from './harness/kubo.ts'
import { loadGenerator, requestRate } from './harness/request-rate.ts'
import { startStowage } from './harness/stowage.ts'

const connections = 32

/** How many small files a second, to clients that keep their connections? As a node runs by default, and without its read log. */
export async function tiny(bench: Bench): Promise<void> {
  const stowage = await startStowage(bench)
  const silent = await startStowage(bench, { STOWAGE_READS_LOG: 'off' })
  const kubo = await startKubo({ sync: true })
  const bareHttp = await startBareHttp(KiB)
  const { cid } = await stowage.add(KiB, 'application/octet-stream')
  const other = await silent.add(KiB, 'application/octet-stream')
  const ofKubo = kubo === undefined ? '' : await addToKubo(kubo, KiB)
  const load = { connections }
  await bench.measure(`GET 1 KiB, ${connections} connections, hot, ${loadGenerator()}`, 'requests/s', [
    {
      label: 'stowage, with the read log',
      ours: true,
      run: () => requestRate(`${stowage.node().gatewayUrl}/ipfs/${cid}`, load),
    },
    {
      label: 'stowage, STOWAGE_READS_LOG=off',
      ours: true,
      run: () => requestRate(`${silent.node().gatewayUrl}/ipfs/${other.cid}`, load),
    },
    {
      label: 'kubo gateway',
      run: kubo === undefined ? notOnPath : () => requestRate(`${kubo.gatewayUrl()}/ipfs/${ofKubo}`, load),
    },
    { label: 'bare node:http', run: () => requestRate(bareHttp, load) },
  ])
}
