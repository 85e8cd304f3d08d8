import { createHash, randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { verified } from '../../src/blocks/verified.ts'
import { createGet, parseContentPath } from '../../src/content/get.ts'
import { createPut } from '../../src/content/put.ts'
import { BufferPool } from '../../src/lib/buffer-pool.ts'
import { MiB } from '../../src/lib/units.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'

const { signal } = new AbortController()

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

test('a buffer that was given back is taken again, up to the number kept', () => {
  const pool = new BufferPool(100, 1)
  const [a, b] = [pool.take(), pool.take()]
  expect(a).not.toBe(b)
  pool.give(a)
  pool.give(b)
  expect(pool.take()).toBe(a)
  expect(pool.take()).not.toBe(b)
})

test('uploads that share a pool, with blocks that repeat and servers that are slow, are read back as they were', async ({
  onTestFinished,
}) => {
  const { blocks, config } = await openTestStore(server.url, onTestFinished, { WRITE_WINDOW_BYTES: '4MiB' })
  const { limits } = config
  // Few buffers, so that each is used many times while others are in flight.
  const put = createPut({ blocks, limits, pool: new BufferPool(MiB, 3) })
  const get = createGet({ blocks: verified(blocks), limits })
  const repeated = randomBytes(MiB)
  const contents = Array.from({ length: 6 }, () =>
    Buffer.concat([randomBytes(3 * MiB), repeated, repeated, randomBytes(5 * MiB + 77), repeated]),
  )
  const results = await Promise.all(
    contents.map((content) =>
      put.file(
        (async function* () {
          for (let at = 0; at < content.byteLength; at += 300_000) yield content.subarray(at, at + 300_000)
        })(),
        { signal, profile: 'unixfs-v1-2025' },
      ),
    ),
  )
  for (const [i, { cid }] of results.entries()) {
    const { path } = parseContentPath(`${cid}`, { pathSegmentsMax: 8 })
    const target = await get.open(path, { signal })
    const hash = createHash('sha256')
    for await (const part of target.read(undefined, { signal, readAheadBytes: 4 * MiB })) hash.update(part)
    expect(hash.digest('hex')).toBe(
      createHash('sha256')
        .update(contents[i] ?? '')
        .digest('hex'),
    )
  }
})
