import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { hashBlock } from '../../src/blocks/block.ts'
import { openNatsBlockstore } from '../../src/blocks/nats-blockstore.ts'
import { verified } from '../../src/blocks/verified.ts'
import { readConfig } from '../../src/config.ts'
import { KiB } from '../../src/lib/units.ts'
import { connectNats } from '../../src/nats/connection.ts'
import { inTurn } from './in-turn.ts'
import type { JobResult, StoreJob } from './nats-job.ts'
import { silent } from './silent.ts'

/** Our blockstore without HTTP and UnixFS: one call a block, hashes checked, no cache. `bucket` names the store. */
const job = JSON.parse(process.argv[2] ?? '') as StoreJob
const config = readConfig({}, { STORE: job.bucket, SHARDS: '4' })
const nats = await connectNats(job.url, config.nats, silent)
const blocks = verified(await openNatsBlockstore(nats, config.layout, config.store))
const { signal } = new AbortController()
const rawCodec = 0x55
const result: JobResult = { seconds: await run(job) }
process.stdout.write(JSON.stringify(result))
await nats.close()

async function run(task: StoreJob): Promise<number> {
  if (task.kind === 'put') throw new Error('a block is no file')
  const contents = Array.from({ length: task.count }, (_, i) => contentOf(task.bucket, i))
  const start = performance.now()
  if (task.kind === 'put-small') {
    await inTurn(task.count, task.atOnce, async (i) => {
      const bytes = contents[i] ?? new Uint8Array()
      await blocks.put(hashBlock(bytes, rawCodec), { signal })
    })
    return (performance.now() - start) / 1000
  }
  const cids = contents.map(cidOf)
  const from = performance.now()
  await inTurn(task.count, task.atOnce, async (i) => {
    const cid = cids[i]
    if (cid !== undefined) await blocks.get(cid, { signal })
  })
  return (performance.now() - from) / 1000
}

/** The same for the same name, so that one job reads what another one wrote. */
function contentOf(name: string, index: number): Uint8Array {
  return createHash('shake256', { outputLength: KiB }).update(`${name} ${index}`).digest()
}

function cidOf(bytes: Uint8Array): CID {
  return hashBlock(bytes, rawCodec).cid
}
