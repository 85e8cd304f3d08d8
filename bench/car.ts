import { join } from 'node:path'
import { formatBytes } from '../src/lib/units.ts'
import { type Bench, notOnPath } from './harness/bench.ts'
import { temporaryFolder } from './harness/cleanup.ts'
import { coldKind, dropPageCache } from './harness/cold.ts'
import type { HttpResult } from './harness/http-job.ts'
import { startKubo } from './harness/kubo.ts'
import { runJob } from './harness/run-job.ts'
import { startStowage } from './harness/stowage.ts'

/** How fast do CARs go in and out? */
export async function car(bench: Bench): Promise<void> {
  const { sizeBytes } = bench
  const size = formatBytes(sizeBytes)
  const rate = ({ seconds }: HttpResult) => sizeBytes / 1e6 / seconds
  const prepared = await prepareCar(bench)

  /** A new store each run: what is stored already would not be stored again. */
  const kuboImport = (sync: boolean) => async () => {
    const kubo = await startKubo({ sync })
    if (kubo === undefined) throw new Error(notOnPath)
    const result = await kubo.post('dag/import?pin-roots=false', prepared.file)
    await kubo.stop()
    return rate(result)
  }
  const synced = await startKubo({ sync: true })
  const isThere = synced !== undefined
  await bench.measure(`import a CAR of ${size}`, 'MB/s', [
    {
      label: 'stowage, durable',
      ours: true,
      run: async () => {
        const stowage = await startStowage(bench)
        const result = await stowage.add(prepared.file, 'application/vnd.ipld.car')
        await stowage.stop()
        return rate(result)
      },
    },
    { label: 'kubo, flatfs sync on', run: isThere ? kuboImport(true) : notOnPath },
    { label: 'kubo, flatfs sync off', run: isThere ? kuboImport(false) : notOnPath },
  ])

  const stowage = await startStowage(bench)
  const large = await startStowage(bench, { STOWAGE_CACHE_BYTES: '2GiB' })
  await stowage.add(prepared.file, 'application/vnd.ipld.car')
  await large.add(prepared.file, 'application/vnd.ipld.car')
  await synced?.post('dag/import?pin-roots=false', prepared.file)
  const path = `/ipfs/${prepared.cid}?format=car`
  await bench.measure(`export a CAR of ${size}`, 'MB/s', [
    {
      label: `stowage, ${coldKind()}`,
      ours: true,
      run: async () => {
        await stowage.restart()
        dropPageCache()
        return rate(await stowage.get(path))
      },
    },
    {
      label: 'kubo, cold',
      run:
        synced === undefined
          ? notOnPath
          : async () => {
              await synced.restart()
              dropPageCache()
              return rate(await synced.get(path))
            },
    },
    { label: 'stowage, hot', ours: true, run: async () => hot(() => stowage.get(path), rate) },
    { label: 'kubo, hot', run: synced === undefined ? notOnPath : async () => hot(() => synced.get(path), rate) },
    { label: 'stowage, hot, CACHE_BYTES=2GiB', ours: true, run: async () => hot(() => large.get(path), rate) },
  ])
}

/** The second of two readings. */
async function hot(read: () => Promise<HttpResult>, rate: (result: HttpResult) => number): Promise<number> {
  await read()
  return rate(await read())
}

/** A CAR in a file, made by a node that is gone afterwards. */
async function prepareCar(bench: Bench): Promise<{ readonly cid: string; readonly file: string }> {
  const stowage = await startStowage(bench)
  const { cid } = await stowage.add(bench.sizeBytes, 'application/octet-stream')
  const file = join(await temporaryFolder('car'), 'file.car')
  const url = `${stowage.node().gatewayUrl}/ipfs/${cid}?format=car`
  await runJob<HttpResult>('http-client.ts', { kind: 'download', url, file })
  await stowage.stop()
  return { cid, file }
}
