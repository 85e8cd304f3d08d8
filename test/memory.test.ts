import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { slowDownloadCurve, uploadCurve } from '../bench/harness/memory-curve.ts'
import { MiB } from '../src/lib/units.ts'
import { type NodeProcess, startNodeProcess } from './support/node-process.ts'

/** Far less than the file, so that a node which keeps what it should hold back is seen; `bench:memory` does 10 GiB. */
const capBytes = 230 * MiB
const fileBytes = 512 * MiB
/** Slower than any node sends, so that a second into the download the reader is far behind. */
const readerBytesPerSecond = 80 * MiB

let dataDir: string
let node: NodeProcess
let cid: string

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'stowage-memory-'))
  node = await startNodeProcess({ dataDir, natsServer: inject('natsServer'), env: { STOWAGE_LOG: 'warn' } })
})

afterAll(async () => {
  await node?.end('SIGTERM')
  await rm(dataDir, { recursive: true, force: true, maxRetries: 5 })
})

test('an upload of 512 MiB costs the node a bounded amount of memory', async () => {
  const curve = await uploadCurve(node, fileBytes)
  cid = curve.cid
  // All of it was new: 512 leaves and their root.
  expect(curve.newBlocks).toBe(513)
  expect(curve.maxBytes / MiB).toBeLessThan(capBytes / MiB)
})

test('a download of 512 MiB to a slow reader costs the node a bounded amount of memory', async () => {
  const curve = await slowDownloadCurve(node, `/ipfs/${cid}`, readerBytesPerSecond)
  expect(curve.bytes).toBe(fileBytes)
  expect(curve.maxBytes / MiB).toBeLessThan(capBytes / MiB)
})
