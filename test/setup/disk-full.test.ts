import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { NodeProcess } from '../support/node-process.ts'
import {
  download,
  roundTrip,
  startServing,
  statusOf,
  temporaryFolder,
  type Uploaded,
  upload,
  waiting,
} from '../support/serving.ts'

const MiB = 1024 * 1024
const uploadBytes = 4 * MiB

interface Kept {
  readonly cid: string
  readonly bytes: Uint8Array
}

/** Uploads until one is refused; the refusal, and what was stored before. */
async function uploadUntilRefused(node: NodeProcess): Promise<{ readonly refused: Uploaded; readonly kept: Kept[] }> {
  const kept: Kept[] = []
  for (let i = 0; i < 64; i++) {
    const bytes = randomBytes(uploadBytes)
    const uploaded = await upload(node, bytes)
    if (uploaded.status !== 201) return { refused: uploaded, kept }
    kept.push({ cid: uploaded.body.cid ?? '', bytes })
  }
  throw new Error('256 MiB were taken')
}

async function expectReadable(node: NodeProcess, kept: readonly Kept[]): Promise<void> {
  expect(kept.length).toBeGreaterThan(0)
  for (const { cid, bytes } of kept) expect(Buffer.compare(await download(node, cid), bytes)).toBe(0)
}

/** What a full store has to do all the same: show what there is, and let go of it. */
async function expectClearable(node: NodeProcess, cid: string): Promise<void> {
  const api = `${node.apiUrl}/api/v1`
  const headers = { authorization: `Bearer ${node.token}` }
  const statusOfCall = async (path: string, method = 'GET') => (await fetch(api + path, { method, headers })).status
  for (const path of ['/names', '/events?follow=false', '/status', `/objects/${cid}`]) {
    expect([path, await statusOfCall(path)]).toEqual([path, 200])
  }
  expect((await fetch(`${node.apiUrl}/readyz`)).status).toBe(200)
  expect(await statusOfCall('/names/kept', 'DELETE')).toBeLessThan(300)
  expect(await statusOfCall(`/objects/${cid}`, 'DELETE')).toBeLessThan(300)
  expect((await fetch(`${node.gatewayUrl}/ipfs/${cid}`)).status).toBe(410)
}

/** A name to be removed when the store is full. */
async function putName(node: NodeProcess): Promise<void> {
  const headers = { authorization: `Bearer ${node.token}` }
  const reply = await fetch(`${node.apiUrl}/api/v1/names/kept`, { method: 'PUT', headers, body: 'kept' })
  expect(reply.ok).toBe(true)
}

const uncached = { STOWAGE_CACHE_BYTES: '0', STOWAGE_STORE_WAIT_SECONDS: '2' }

test('at STOWAGE_STORE_BYTES_MAX uploads are 507, all else goes on, and a higher limit takes more', {
  timeout: 180_000,
}, async () => {
  const dataDir = await temporaryFolder(onTestFinished)
  const node = await startServing(onTestFinished, { dataDir, env: { ...uncached, STOWAGE_STORE_BYTES_MAX: '24MiB' } })
  await putName(node)
  const { refused, kept } = await uploadUntilRefused(node)
  expect([refused.status, refused.body.code]).toEqual([507, 'store_full'])
  expect(refused.body.hint).toMatch(/raise its limit \(STOWAGE_STORE_BYTES_MAX/)
  expect(refused.headers.get('retry-after')).toBe('60')
  await expectReadable(node, kept)
  const gone = kept.pop()
  await expectClearable(node, gone?.cid ?? '')
  expect(await node.end('SIGTERM')).toBe(0)
  const again = await startServing(onTestFinished, { dataDir, env: { ...uncached, STOWAGE_STORE_BYTES_MAX: '64MiB' } })
  await expectReadable(again, kept)
  await roundTrip(again, randomBytes(uploadBytes))
})

/** Mounting needs root, and a kernel that lets it. */
const canMount = ((): boolean => {
  const folder = mkdtempSync(join(tmpdir(), 'stowage-mount-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder]).status === 0
  if (mounted) spawnSync('umount', [folder])
  rmSync(folder, { recursive: true, force: true })
  return mounted
})()

async function smallDisk(megabytes: number): Promise<string> {
  const folder = await temporaryFolder(onTestFinished)
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', folder])
  expect([status, String(stderr)]).toEqual([0, ''])
  onTestFinished(() => void spawnSync('umount', ['-l', folder]))
  return folder
}

// The server's own limit is out of the way: it is the disk that ends.
const onlyTheDisk = { ...uncached, STOWAGE_STORE_BYTES_MAX: '1GiB' }

test.runIf(canMount)('below the reserve uploads are 507, and work again when space is free (needs mount)', async () => {
  const disk = await smallDisk(96)
  const filler = join(disk, 'filler')
  await writeFile(filler, Buffer.alloc(40 * MiB))
  const env = { ...onlyTheDisk, STOWAGE_DISK_RESERVE_BYTES: '24MiB' }
  const node = await startServing(onTestFinished, { dataDir: join(disk, 'data'), env })
  await putName(node)
  const { refused, kept } = await uploadUntilRefused(node)
  expect([refused.status, refused.body.code]).toEqual([507, 'store_full'])
  expect(refused.body.message).toMatch(/kept free/)
  expect(refused.body.hint).toContain('STOWAGE_DISK_RESERVE_BYTES')
  await expectReadable(node, kept)
  const gone = kept.pop()
  await expectClearable(node, gone?.cid ?? '')
  await rm(filler)
  await vi.waitFor(async () => expect((await upload(node, randomBytes(1000))).status).toBe(201), waiting)
  await roundTrip(node, randomBytes(uploadBytes))
  await expectReadable(node, kept)
  // The server never met the end of the disk.
  expect((await statusOf(node)).nats.restarts).toBe(0)
})

async function fill(file: string): Promise<void> {
  const handle = await open(file, 'w')
  try {
    for (const part of [MiB, 4096]) {
      for (;;) {
        const { bytesWritten } = await handle.write(Buffer.alloc(part)).catch(() => ({ bytesWritten: 0 }))
        if (bytesWritten < part) break
      }
    }
  } finally {
    await handle.close()
  }
}

test.runIf(canMount)(
  'when others fill the disk uploads fail, and work again when space is free (needs mount)',
  async () => {
    const disk = await smallDisk(64)
    const filler = join(disk, 'filler')
    const env = { ...onlyTheDisk, STOWAGE_DISK_RESERVE_BYTES: '0' }
    const node = await startServing(onTestFinished, { dataDir: join(disk, 'data'), env })
    const bytes = randomBytes(uploadBytes)
    const kept = [{ cid: await roundTrip(node, bytes), bytes }]
    await fill(filler)
    const refused = await upload(node, randomBytes(uploadBytes))
    expect([503, 507]).toContain(refused.status)
    expect(refused.body.code).toMatch(/^store_(full|unavailable)$/)
    await expectReadable(node, kept)
    await rm(filler)
    await vi.waitFor(async () => expect((await upload(node, randomBytes(1000))).status).toBe(201), {
      ...waiting,
      timeout: 40_000,
    })
    // A stream that froze unnoticed until now has the server started once more.
    await vi.waitFor(() => roundTrip(node, randomBytes(uploadBytes)), { ...waiting, timeout: 40_000 })
    await expectReadable(node, kept)
  },
)
