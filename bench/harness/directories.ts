import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { CID } from 'multiformats/cid'
import { hashBlock } from '../../src/blocks/block.ts'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { readConfig } from '../../src/config.ts'
import { createGet } from '../../src/content/get.ts'
import { EntryTable } from '../../src/dag/entry-table.ts'
import { layoutOf } from '../../src/dag/profile.ts'
import { writeDirectory } from '../../src/dag/write-directory.ts'
import { turnOver } from '../../src/lib/turn-over.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { nameOf, putHugeDirectory } from '../../test/support/huge-directory.ts'
import { temporaryFolder } from './cleanup.ts'
import { freshChunks } from './content.ts'

export interface DirectoryCar {
  readonly root: string
  readonly file: string
  readonly bytes: number
  readonly blocks: number
}

const { signal } = new AbortController()

/** A CAR of a directory of so many names for one small file. */
export async function hugeDirectoryCar(count: number): Promise<DirectoryCar> {
  const store = new MemoryBlockstore()
  const { root } = await putHugeDirectory(store, count)
  return await writeCar(store, root)
}

/** A CAR of a directory of so many files, each of its own. */
export async function filesCar(count: number, fileBytes = KiB): Promise<DirectoryCar> {
  const store = new MemoryBlockstore()
  const table = new EntryTable()
  const chain = { id: 0, last: 0, count: 0 }
  const pause = turnOver()
  for (const bytes of freshChunks(count * fileBytes, fileBytes)) {
    const block = hashBlock(bytes, 0x55)
    await store.put(block, { signal })
    const { byteLength } = bytes
    table.add(chain, nameOf(chain.count), { cid: block.cid, dagBytes: byteLength }, byteLength)
  }
  const put = async (block: ReturnType<typeof hashBlock>) => {
    await store.put(block, { signal })
  }
  const { cid } = await writeDirectory(
    await table.entriesOf(chain, pause),
    {},
    { layout: layoutOf({ profile: 'unixfs-v1-2025', signal }), sink: { put }, pause },
  )
  return await writeCar(store, cid)
}

async function writeCar(store: MemoryBlockstore, root: CID): Promise<DirectoryCar> {
  const get = createGet({ blocks: store, limits: readConfig({}).limits })
  const target = await get.open({ root, segments: [] }, { signal })
  const file = join(await temporaryFolder('directory'), 'directory.car')
  const params = { scope: 'all', bytes: undefined, dups: false, order: 'dfs' } as const
  const out = createWriteStream(file)
  await pipeline(Readable.from(get.car(target, params, { signal, readAheadBytes: MiB })), out)
  return { root: root.toString(), file, bytes: out.bytesWritten, blocks: store.count }
}
