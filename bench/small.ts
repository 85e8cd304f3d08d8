import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { KiB } from '../src/lib/units.ts'
import { tarEnd, tarEntry } from '../test/support/tar.ts'
import { type Bench, notOnPath } from './harness/bench.ts'
import { temporaryFolder } from './harness/cleanup.ts'
import { type Kubo, startKubo } from './harness/kubo.ts'
import type { JobResult } from './harness/nats-job.ts'
import { startBareNats } from './harness/nats-server.ts'
import { runJob } from './harness/run-job.ts'
import { startStowage } from './harness/stowage.ts'

const files = 10_000
const boundary = 'stowage-bench'

/** How fast does a directory of many small files become durable? The archives are prepared beforehand, new each run. */
export async function small(bench: Bench): Promise<void> {
  const folder = await temporaryFolder('small')
  const stowage = await startStowage(bench)
  const synced = await startKubo({ sync: true })
  const unsynced = await startKubo({ sync: false })
  const nats = await startBareNats(bench)
  const rate = ({ seconds }: JobResult) => files / seconds
  const kuboRun = (kubo: Kubo | undefined, label: string) =>
    kubo === undefined
      ? notOnPath
      : async (round: number) => {
          const body = join(folder, `${label}-${round}`)
          await writeFile(body, multipartOf(freshFiles()))
          return rate(await kubo.postMultipart('add?quieter=true&pin=false', body, boundary))
        }
  const objectRun = (atOnce: number) => async (round: number) => {
    const count = atOnce === 1 ? files / 4 : files
    const job = { kind: 'put-small', url: nats.url(), bucket: `obj${atOnce}-${round}`, count, atOnce }
    return count / (await runJob<JobResult>('obj-client.ts', job)).seconds
  }
  await bench.measure('add 10,000 files of 1 KiB, one directory', 'files/s', [
    {
      label: 'stowage, durable, tar',
      ours: true,
      run: async (round) => {
        const body = join(folder, `tar-${round}`)
        await writeFile(body, tarOf(freshFiles()))
        return rate(await stowage.add(body, 'application/x-tar'))
      },
    },
    { label: 'kubo, flatfs sync on', run: kuboRun(synced, 'sync') },
    { label: 'kubo, flatfs sync off', run: kuboRun(unsynced, 'async') },
    {
      label: 'JetStream atomic batches of 450 blocks',
      run: async (round) => {
        const job = { kind: 'batches', url: nats.url(), blocks: files, stream: `batches${round}` }
        return rate(await runJob<JobResult>('nats-client.ts', job))
      },
    },
    { label: '@nats-io/obj putBlob, one by one', run: objectRun(1) },
    { label: '@nats-io/obj putBlob, 32 at once', run: objectRun(32) },
  ])
}

interface SmallFile {
  readonly name: string
  readonly content: Buffer
}

const freshFiles = (): SmallFile[] =>
  Array.from({ length: files }, (_, i) => ({
    name: `file-${String(i).padStart(5, '0')}.bin`,
    content: randomBytes(KiB),
  }))

const tarOf = (contents: readonly SmallFile[]): Buffer =>
  Buffer.concat([...contents.map(({ name, content }) => tarEntry({ path: name, content })), tarEnd])

/** As `ipfs add -r` sends a directory. */
function multipartOf(contents: readonly SmallFile[]): Buffer {
  const part = (path: string, type: string, content: Buffer) => [
    Buffer.from(
      `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="${encodeURIComponent(path)}"\r\n` +
        `Content-Type: ${type}\r\n\r\n`,
    ),
    content,
    Buffer.from('\r\n'),
  ]
  return Buffer.concat([
    ...part('files', 'application/x-directory', Buffer.alloc(0)),
    ...contents.flatMap(({ name, content }) => part(`files/${name}`, 'application/octet-stream', content)),
    Buffer.from(`--${boundary}--\r\n`),
  ])
}
