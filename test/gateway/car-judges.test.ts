import { execFile, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { trustlessGatewayBlockBroker } from '@helia/trustless-gateway-client'
import { multiaddr } from '@multiformats/multiaddr'
import { validateBlock } from '@web3-storage/car-block-validator'
import { exporter, recursive } from 'ipfs-unixfs-exporter'
import type { CID } from 'multiformats/cid'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { Abortable, Want } from '../../src/blocks/blockstore.ts'
import { parseBytes } from '../../src/lib/units.ts'
import { bytesOf, CountingStore, importDag, pattern, putFile, putRaw } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'
import { temporaryFolder } from '../support/serving.ts'

// Programs that are not ours read from a running gateway, and trust it in nothing: `ipfs-car` and Helia's client for
// trustless gateways of npm, and curl.

const run = promisify(execFile)
const MiB = 1024 * 1024
const ipfsCarProgram = join(import.meta.dirname, '../../node_modules/ipfs-car/bin.js')
const ipfsCar = (...args: string[]) => run(process.execPath, [ipfsCarProgram, ...args])

/** Chunks, a file in one block, an empty one, repeats, names that need escaping, a directory of shards. */
const files = new Map<string, Uint8Array>([
  ['big.bin', pattern(3 * MiB)],
  ['empty', new Uint8Array()],
  ['sub/ä b%.txt', Buffer.from('hello')],
  ['sub/copy.txt', Buffer.from('hello')],
  ...Array.from({ length: 2000 }, (_, n): [string, Uint8Array] => [
    `many/${'a long name, so that this directory is a HAMT '.repeat(2)}${n}`,
    pattern(10, n % 200),
  ]),
])

/** A store that lies: it gives other bytes for the blocks that it is told to spoil. */
class LyingStore extends CountingStore {
  readonly spoiled = new Set<string>()

  override async get(cid: CID, options: Abortable): Promise<Uint8Array> {
    return this.#spoil(cid, await super.get(cid, options))
  }

  override async getBatch(wants: readonly Want[], options: Abortable): Promise<Uint8Array[]> {
    const blocks = await super.getBatch(wants, options)
    return wants.map(({ cid }, index) => this.#spoil(cid, blocks[index] ?? new Uint8Array()))
  }

  #spoil(cid: CID, bytes: Uint8Array): Uint8Array {
    if (!this.spoiled.has(`${cid}`)) return bytes
    const other = Uint8Array.from(bytes)
    other[other.length - 1] = (other.at(-1) ?? 0) ^ 1
    return other
  }
}

async function serving() {
  const store = new LyingStore()
  const gateway = await openGateway(onTestFinished, {}, store)
  const entries = Array.from(files, ([path, content]) => ({ path: `tree/${path}`, content }))
  const root = await importDag(store, entries, { chunkBytes: MiB / 4 })
  return { ...gateway, store, root, url: `http://127.0.0.1:${gateway.port}` }
}

/** A leaf of big.bin. */
async function leafOf({ store, ask, root }: Awaited<ReturnType<typeof serving>>): Promise<string> {
  store.forget()
  await ask(`/ipfs/${root}/big.bin?filename=a.bin`, { headers: { range: `bytes=${2 * MiB}-${2 * MiB}` } })
  return `${store.asked.at(-1)}`
}

describe('ipfs-car', () => {
  const downloaded = async (url: string): Promise<string> => {
    const path = join(await temporaryFolder(onTestFinished), 'served.car')
    await writeFile(path, new Uint8Array(await (await fetch(url)).arrayBuffer()))
    return path
  }

  test.each([
    ['', ''],
    ['with repeats', '&car-dups=y'],
  ])('unpacks a served CAR %s into the same files, and verifies each block', async (_, search) => {
    const { url, root } = await serving()
    const car = await downloaded(`${url}/ipfs/${root}?format=car${search}`)
    expect((await ipfsCar('roots', car)).stdout.trim()).toBe(`${root}`)
    const out = `${car}.out`
    await ipfsCar('unpack', car, '--output', out)
    const found = await readdir(out, { recursive: true, withFileTypes: true })
    const paths = found.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
    expect(paths.length).toBe(files.size)
    for (const path of paths) {
      const expected = files.get(path.slice(out.length + 1)) ?? Buffer.from('no such file was added')
      expect((await readFile(path)).equals(expected)).toBe(true)
    }
  })

  test('refuses a served CAR of which one block is not what its CID says', async () => {
    const lying = await serving()
    lying.store.spoiled.add(await leafOf(lying))
    const car = await downloaded(`${lying.url}/ipfs/${lying.root}/big.bin?format=car`)
    await expect(ipfsCar('hash', car)).resolves.toBeDefined()
    await expect(ipfsCar('unpack', car, '--root', await bigCid(lying), '--output', `${car}.out`)).rejects.toThrow(
      /hash/i,
    )
  })

  const bigCid = async ({ ask, root }: Awaited<ReturnType<typeof serving>>): Promise<string> =>
    `${(await ask(`/ipfs/${root}/big.bin`, { method: 'HEAD' })).headers['x-ipfs-roots']}`.split(',').at(-1) ?? ''
})

describe("Helia's client for trustless gateways", () => {
  /** Asks the gateway for blocks, has each checked, and lets the exporter find its way: nothing of it is ours. */
  const clientOf = (port: number) => {
    const log = Object.assign(() => undefined, {
      enabled: false,
      error: () => undefined,
      trace: () => undefined,
      newScope: () => log,
    })
    const provider = { multiaddrs: [multiaddr(`/ip4/127.0.0.1/tcp/${port}/http`)] }
    const routing = {
      async *findProviders() {
        yield provider
      },
    }
    const init = trustlessGatewayBlockBroker({ allowInsecure: true, allowLocal: true })
    const broker = init({ routing, logger: { forComponent: () => log } } as unknown as Parameters<typeof init>[0])
    return {
      get: async (cid: CID): Promise<Uint8Array> => {
        const blocks = await broker.retrieve?.(cid, { validateFn: (bytes) => validateBlock({ cid, bytes }) })
        return blocks ?? new Uint8Array()
      },
    }
  }
  const store = (port: number) => clientOf(port) as unknown as Parameters<typeof recursive>[1]

  test('reads every file of a directory out of the gateway, block by block', async () => {
    const { port, root } = await serving()
    const read = new Map<string, Buffer>()
    for await (const entry of recursive(`${root}`, store(port))) {
      if (entry.type === 'directory') continue
      read.set(entry.path.slice(`${root}/`.length), await bytesOf(entry.content()))
    }
    expect(read.size).toBe(files.size)
    for (const [path, content] of files) expect([path, read.get(path)?.equals(content)]).toEqual([path, true])
  })

  test('notices a block that is not what its CID says', async () => {
    const lying = await serving()
    const leaf = await leafOf(lying)
    const read = async () => {
      const file = await exporter(`${lying.root}/big.bin`, store(lying.port))
      if (file.type === 'file') await bytesOf(file.content())
    }
    await read()
    lying.store.spoiled.add(leaf)
    await expect(read()).rejects.toThrow(leaf)
  })
})

const curlFound = spawnSync('curl', ['--version']).status === 0
if (!curlFound) console.log('skipped: no `curl` on PATH to resume a download with')

/** 1GiB is what the requirements speak of; it takes a minute. */
const resumedBytes = parseBytes(process.env.STOWAGE_TEST_RESUME_BYTES ?? '64MiB') ?? 64 * MiB

test.skipIf(!curlFound)(
  'curl resumes a large download that was broken off twice, and has what was added',
  async () => {
    const { store, port, ask } = await openGateway(onTestFinished)
    const chunkBytes = MiB / 2
    // Few distinct chunks in an order that no shift leaves the same, so that 1 GiB costs little memory.
    const chunks = await Promise.all(
      Array.from({ length: 17 }, async (_, n) => {
        const content = pattern(chunkBytes, n + 1)
        return { content, cid: await putRaw(store, content), size: BigInt(chunkBytes) }
      }),
    )
    const order = Array.from({ length: Math.ceil(resumedBytes / chunkBytes) }, (_, n) => (n * n + (n >> 4)) % 17)
    const { cid } = await putFile(
      store,
      order.flatMap((index) => chunks[index] ?? []),
    )
    const expected = createHash('sha256')
    for (const index of order) expected.update(chunks[index]?.content ?? '')

    const file = join(await temporaryFolder(onTestFinished), 'resumed.bin')
    const url = `http://127.0.0.1:${port}/ipfs/${cid}?filename=a.bin`
    const { etag = '' } = (await ask(`/ipfs/${cid}?filename=a.bin`, { method: 'HEAD' })).headers
    const sizeNow = async () => (await stat(file).catch(() => ({ size: 0 }))).size
    for (const part of [1 / 4, 2 / 3]) {
      const args = [
        '-sS',
        '--limit-rate',
        `${Math.ceil(resumedBytes / 4)}`,
        '-C',
        '-',
        '-H',
        `If-Range: ${etag}`,
        '-o',
        file,
      ]
      const curl = spawn('curl', [...args, url], { stdio: 'ignore' })
      await vi.waitFor(async () => expect(await sizeNow()).toBeGreaterThan(resumedBytes * part), { timeout: 60_000 })
      curl.kill('SIGKILL')
      await once(curl, 'close')
      expect(await sizeNow()).toBeLessThan(resumedBytes)
    }
    const had = await sizeNow()
    store.forget()
    await run('curl', ['-sSf', '-C', '-', '-H', `If-Range: ${etag}`, '-o', file, url])
    expect(await sizeNow()).toBe(order.length * chunkBytes)
    // The rest alone was read again.
    expect(store.asked.length).toBeLessThanOrEqual(Math.ceil((resumedBytes - had) / chunkBytes) + 2)
    const got = createHash('sha256')
    await pipeline(createReadStream(file), got)
    expect(got.digest('hex')).toBe(expected.digest('hex'))
  },
  300_000,
)
