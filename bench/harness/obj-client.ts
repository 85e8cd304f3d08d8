import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { jetstream } from '@nats-io/jetstream'
import { type ObjectStore, Objm, setSha256Backend } from '@nats-io/obj'
import { connect } from '@nats-io/transport-node'
import { KiB, MiB } from '../../src/lib/units.ts'
import { freshChunks } from './content.ts'
import { inTurn } from './in-turn.ts'
import type { JobResult, StoreJob } from './nats-job.ts'

/** `@nats-io/obj` as it comes, but for the faster of its two hash backends. */
const job = JSON.parse(process.argv[2] ?? '') as StoreJob
setSha256Backend('native')
const connection = await connect({ servers: job.url })
const store = await new Objm(jetstream(connection)).create(job.bucket)
const result: JobResult = { seconds: await run(job, store) }
process.stdout.write(JSON.stringify(result))
await connection.close()

async function run(task: StoreJob, objects: ObjectStore): Promise<number> {
  const start = () => performance.now()
  switch (task.kind) {
    case 'put': {
      const from = start()
      await objects.put({ name: 'file' }, streamOf(task.bytes), { timeout: 60_000 })
      return (performance.now() - from) / 1000
    }
    case 'put-small': {
      const contents = Array.from({ length: task.count }, () => randomBytes(KiB))
      const from = start()
      await inTurn(task.count, task.atOnce, async (i) => {
        await objects.putBlob({ name: `object-${i}` }, contents[i] ?? new Uint8Array())
      })
      return (performance.now() - from) / 1000
    }
    case 'get-small': {
      const from = start()
      await inTurn(task.count, task.atOnce, async (i) => {
        // A get whose consumer cannot be made hangs for ever.
        const bytes = await Promise.race([objects.getBlob(`object-${i}`), delay(30_000, null, { ref: false })])
        if (bytes?.byteLength !== KiB) throw new Error(`object-${i} was not read`)
      })
      return (performance.now() - from) / 1000
    }
  }
}

function streamOf(bytes: number): ReadableStream<Uint8Array> {
  const chunks = freshChunks(bytes, MiB)
  return new ReadableStream({
    pull(controller) {
      const next = chunks.next()
      if (next.done) controller.close()
      else controller.enqueue(next.value)
    },
  })
}
