import type { CID } from 'multiformats/cid'
import { hashBlock } from '../../src/blocks/block.ts'
import type { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { EntryTable } from '../../src/dag/entry-table.ts'
import { layoutOf } from '../../src/dag/profile.ts'
import { writeDirectory } from '../../src/dag/write-directory.ts'
import { turnOver } from '../../src/lib/turn-over.ts'
import { signal } from './dags.ts'

export const nameOf = (index: number): string => `entry-${String(index).padStart(7, '0')}.txt`

/** A directory of so many names, all for one small file. 1,000,000 take 10 s and 0.5 GB. */
export async function putHugeDirectory(store: MemoryBlockstore, count: number): Promise<{ root: CID; file: CID }> {
  const file = hashBlock(Buffer.from('x'), 0x55)
  await store.put(file, { signal })
  const table = new EntryTable()
  const chain = { id: 0, last: 0, count: 0 }
  for (let index = 0; index < count; index++) table.add(chain, nameOf(index), { cid: file.cid, dagBytes: 1 }, 1)
  const pause = turnOver()
  const sink = {
    put: async (block: typeof file) => {
      await store.put(block, { signal })
    },
  }
  const { cid } = await writeDirectory(
    await table.entriesOf(chain, pause),
    {},
    { layout: layoutOf({ profile: 'unixfs-v1-2025', signal }), sink, pause },
  )
  return { root: cid, file: file.cid }
}
