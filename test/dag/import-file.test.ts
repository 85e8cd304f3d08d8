import { createFileEncoderStream } from 'ipfs-car'
import { importer } from 'ipfs-unixfs-importer'
import { CID } from 'multiformats/cid'
import { describe, expect, test } from 'vitest'
import type { HashedBlock } from '../../src/blocks/block.ts'
import type { Blockstore } from '../../src/blocks/blockstore.ts'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { importFile } from '../../src/dag/import-file.ts'
import type { ImportOptions } from '../../src/dag/import-options.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { bytesOf, forgetful, keyStream, streamOf } from '../support/import-inputs.ts'

const { signal } = new AbortController()
const v1 = { profile: 'unixfs-v1-2025', signal } as const
const v0 = { profile: 'unixfs-v0-2015', signal } as const

/** What ipfs-car (another implementation) makes of the bytes, by the layout of unixfs-v1-2025. */
async function ipfsCarCid(bytes: Uint8Array): Promise<string> {
  let root = ''
  const reader = createFileEncoderStream(new Blob([Buffer.from(bytes)])).getReader()
  for (let next = await reader.read(); !next.done; next = await reader.read()) root = next.value.cid.toString()
  return root
}

async function importerCid(bytes: Uint8Array, options: Omit<ImportOptions, 'signal'>): Promise<string> {
  const storage = { put: async (cid: CID) => cid }
  for await (const { cid } of importer([{ content: bytes }], storage as never, { profile: options.profile })) {
    return cid.toString()
  }
  throw new Error('no file')
}

describe('edges', () => {
  const edges = [0, 1, MiB - 1, MiB, MiB + 1, 2 * MiB - 1, 2 * MiB, 2 * MiB + 1]
  for (const size of edges) {
    test(`unixfs-v1-2025: ${size} bytes have the CID that ipfs-car gives them`, async () => {
      const bytes = await bytesOf(keyStream(size, 'edges'))
      const result = await importFile(streamOf(bytes), {}, forgetful(), v1)
      expect(result.cid.toString()).toBe(await ipfsCarCid(bytes))
      expect(result.size).toBe(BigInt(size))
    })
  }

  const width = 174 * 256 * KiB
  for (const size of [1, 256 * KiB - 1, 256 * KiB, 256 * KiB + 1, width - 1, width, width + 1]) {
    test(`unixfs-v0-2015: ${size} bytes have the CID that the bare importer gives them`, async () => {
      const bytes = await bytesOf(keyStream(size, 'edges'))
      const result = await importFile(streamOf(bytes), {}, forgetful(), v0)
      expect(result.cid.toString()).toBe(await importerCid(bytes, v0))
      expect(result.cid.version).toBe(0)
    })
  }

  test('the CID does not depend on how the source is cut into parts', async () => {
    const cids = new Set<string>()
    for (const partBytes of [1000, 65_536, MiB, 5 * MiB]) {
      const source = keyStream(3 * MiB + 7, 'parts', partBytes)
      cids.add((await importFile(source, {}, forgetful(), v1)).cid.toString())
    }
    expect(cids.size).toBe(1)
  })

  test('link widths are those of the profile at a chunk of 1 KiB, a byte around the edge', async () => {
    for (const [bytes, blocks] of [
      [1024 * KiB, 1024 + 1],
      [1024 * KiB + 1, 1025 + 2 + 1],
    ] as const) {
      const result = await importFile(keyStream(bytes, 'width'), {}, forgetful(), { ...v1, chunkBytes: KiB })
      expect(result.blocks).toBe(blocks)
    }
  })
})

/** Tells the order of what happens to the blocks. */
function recording(): { readonly store: Pick<Blockstore, 'openWriter'>; readonly log: string[] } {
  const log: string[] = []
  const store = {
    openWriter: () => ({
      put: async ({ cid }: HashedBlock) => {
        log.push(cid.toString())
      },
      flush: async () => {
        log.push('flush')
        return { blocks: 0, newBlocks: 0 }
      },
    }),
  }
  return { store, log }
}

describe('order and stop', () => {
  test('every other block is durable before the root is handed over, and the root before the answer', async () => {
    const { store, log } = recording()
    const { cid } = await importFile(keyStream(2 * MiB + 1, 'order'), {}, store, v1)
    expect(log.slice(-3)).toEqual(['flush', cid.toString(), 'flush'])
    expect(log.filter((line) => line === cid.toString())).toHaveLength(1)
    expect(log).toHaveLength(3 + 3)
  })

  test('a file of one block needs one flush', async () => {
    const { store, log } = recording()
    const { cid } = await importFile(streamOf('x'), {}, store, v1)
    expect(log).toEqual([cid.toString(), 'flush'])
  })

  test('a source that fails leaves no root', async () => {
    const blocks = new MemoryBlockstore()
    const whole = await importFile(keyStream(3 * MiB, 'broken'), {}, forgetful(), v1)
    const broken = async function* () {
      yield* keyStream(3 * MiB, 'broken')
      throw new Error('the line is cut')
    }
    await expect(importFile(broken(), {}, blocks, v1)).rejects.toThrow('the line is cut')
    expect(await blocks.has(whole.cid, { signal })).toBe(false)
  })

  test('an abort stops an endless source and rejects with its reason', async () => {
    const controller = new AbortController()
    let parts = 0
    const endless = async function* () {
      for (;;) {
        if (++parts === 5) controller.abort(new Error('enough'))
        yield Buffer.alloc(MiB, parts)
      }
    }
    const { store, log } = recording()
    await expect(importFile(endless(), {}, store, { ...v1, signal: controller.signal })).rejects.toThrow('enough')
    expect(parts).toBeLessThan(8)
    expect(log).not.toContain('flush')
  })

  test('a writer that fails ends the import with its error and lets go of the source', async () => {
    let closed = false
    const source = async function* () {
      try {
        for (;;) yield Buffer.alloc(MiB)
      } finally {
        closed = true
      }
    }
    const full = {
      openWriter: () => ({
        put: async () => Promise.reject(new Error('disk full')),
        flush: async () => ({ blocks: 0, newBlocks: 0 }),
      }),
    }
    await expect(importFile(source(), {}, full, v1)).rejects.toThrow('disk full')
    expect(closed).toBe(true)
  })

  test('what is handed over first waits for a writer without room: the source is not read ahead', async () => {
    let handed = 0
    let release = () => undefined as unknown
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    let read = 0
    const source = async function* () {
      for (; read < 20; read++) yield Buffer.alloc(MiB, read)
    }
    let blocked = () => undefined as unknown
    const full = new Promise<void>((resolve) => {
      blocked = resolve
    })
    const store = {
      openWriter: () => ({
        put: async () => {
          if (++handed < 3) return
          blocked()
          await gate
        },
        flush: async () => ({ blocks: handed, newBlocks: handed }),
      }),
    }
    const importing = importFile(source(), {}, store, v1)
    await full
    expect(read).toBeLessThan(10)
    release()
    expect((await importing).size).toBe(BigInt(20 * MiB))
  })
})

test('raw leaves and CID versions are those asked for', async () => {
  const plain = await importFile(streamOf('hello world'), {}, forgetful(), { ...v1, rawLeaves: false })
  expect(plain.cid).toMatchObject({ version: 1, code: 0x70 })
  const raw = await importFile(streamOf('hello world'), {}, forgetful(), { ...v0, rawLeaves: true })
  expect(raw.cid.equals(CID.parse('bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'))).toBe(true)
})
