import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { KiB } from '../src/lib/units.ts'
import { addToKubo } from './get.ts'
import { startBareHttp } from './harness/bare-http.ts'
import { type Bench, isOnPath, notOnPath } from './harness/bench.ts'
import type { HttpResult } from './harness/http-job.ts'
import { startKubo } from './harness/kubo.ts'
import { runJob } from './harness/run-job.ts'
import { startStowage } from './harness/stowage.ts'

const connections = 32
const seconds = 5

/** How many small files a second, to clients that keep their connections? */
export async function tiny(bench: Bench): Promise<void> {
  const stowage = await startStowage(bench)
  const kubo = await startKubo({ sync: true })
  const bareHttp = await startBareHttp(KiB)
  const { cid } = await stowage.add(KiB, 'application/octet-stream')
  const ofKubo = kubo === undefined ? '' : await addToKubo(kubo, KiB)
  const load = isOnPath('wrk') ? 'wrk' : 'own load generator (wrk is not on PATH)'
  await bench.measure(`GET 1 KiB, ${connections} connections, hot, ${load}`, 'requests/s', [
    { label: 'stowage', ours: true, run: () => requestRate(`${stowage.node().gatewayUrl}/ipfs/${cid}`) },
    {
      label: 'kubo gateway',
      run: kubo === undefined ? notOnPath : () => requestRate(`${kubo.gatewayUrl()}/ipfs/${ofKubo}`),
    },
    { label: 'bare node:http', run: () => requestRate(bareHttp) },
  ])
}

async function requestRate(url: string): Promise<number> {
  if (!isOnPath('wrk')) {
    const { count, seconds: took } = await runJob<HttpResult>('http-client.ts', {
      kind: 'requests',
      url,
      connections,
      seconds,
    })
    return count / took
  }
  const { stdout } = await promisify(execFile)('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, url])
  // It counts refusals as requests.
  if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(stdout.replaceAll('\n', ' '))
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1])
}
