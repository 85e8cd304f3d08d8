import { randomBytes } from 'node:crypto'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, headers } from '@nats-io/transport-node'
import { readConfig } from '../../src/config.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { publishBatch } from '../../src/nats/batch.ts'
import { connectNats } from '../../src/nats/connection.ts'
import { batchBlocksMax } from '../../src/nats/layout.ts'
import { freshChunks } from './content.ts'
import type { JobResult, NatsJob } from './nats-job.ts'
import { silent } from './silent.ts'

/** JetStream itself, without blocks, CIDs or HTTP: the floor that we stand on. */
const windowMessages = 16
const job = JSON.parse(process.argv[2] ?? '') as NatsJob
process.stdout.write(JSON.stringify(await run(job)))

function run(task: NatsJob): Promise<JobResult> {
  switch (task.kind) {
    case 'publish':
      return publish(task)
    case 'batches':
      return batches(task)
    case 'direct-get':
      return directGet(task)
  }
}

/** Messages of 1 MiB, 16 in flight, each only if its subject is empty, as blocks are written. */
async function publish({ url, bytes, stream }: NatsJob & { kind: 'publish' }): Promise<JobResult> {
  const connection = await connect({ servers: url })
  const manager = await jetstreamManager(connection)
  await manager.streams.add({ name: stream, subjects: [`${stream}.>`], allow_direct: true })
  const js = jetstream(connection)
  const start = performance.now()
  const window: Promise<unknown>[] = []
  let index = 0
  for (const chunk of freshChunks(bytes, MiB)) {
    const only = headers()
    only.set('Nats-Expected-Last-Subject-Sequence', '0')
    window.push(js.publish(`${stream}.${index++}`, chunk, { headers: only, timeout: 60_000 }))
    if (window.length >= windowMessages) await window.shift()
  }
  await Promise.all(window)
  const seconds = (performance.now() - start) / 1000
  await connection.close()
  return { seconds }
}

/** Chunk and meta of 1 KiB blocks in atomic batches as large as they can be, two in flight. */
async function batches({ url, blocks, stream }: NatsJob & { kind: 'batches' }): Promise<JobResult> {
  const nats = await connectNats(url, readConfig({}).nats, silent)
  await nats.jsm.streams.add({ name: stream, subjects: [`${stream}.>`], allow_atomic: true })
  const meta = randomBytes(400)
  const start = performance.now()
  const window: Promise<unknown>[] = []
  for (let first = 0; first < blocks; first += batchBlocksMax) {
    const publications = Array.from({ length: Math.min(batchBlocksMax, blocks - first) }, (_, i) => [
      { subject: `${stream}.C.${first + i}`, payload: randomBytes(KiB), expectedLastSequence: 0 },
      { subject: `${stream}.M.${first + i}`, payload: meta, expectedLastSequence: 0 },
    ]).flat()
    window.push(publishBatch(nats.data, nats.requests, publications))
    if (window.length >= 2) await window.shift()
  }
  await Promise.all(window)
  const seconds = (performance.now() - start) / 1000
  await nats.close()
  return { seconds }
}

/** multi_last windows of 16 MiB, two in flight (64 MiB outstanding would end the connection). */
async function directGet({ url, bytes, stream }: NatsJob & { kind: 'direct-get' }): Promise<JobResult> {
  const connection = await connect({ servers: url })
  const { direct } = await jetstreamManager(connection)
  const messages = Math.ceil(bytes / MiB)
  let received = 0
  const read = async (first: number) => {
    const subjects = Array.from({ length: Math.min(16, messages - first) }, (_, i) => `${stream}.${first + i}`)
    for await (const { data } of await direct.getLastMessagesFor(stream, { multi_last: subjects })) {
      received += data.byteLength
    }
  }
  const start = performance.now()
  const window: Promise<void>[] = []
  for (let first = 0; first < messages; first += 16) {
    window.push(read(first))
    if (window.length >= 2) await window.shift()
  }
  await Promise.all(window)
  const seconds = (performance.now() - start) / 1000
  if (received !== bytes) throw new Error(`${received} of ${bytes} bytes received`)
  await connection.close()
  return { seconds }
}
