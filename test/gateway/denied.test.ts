import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { denied } from '../../src/blocks/denied.ts'
import { inline } from '../../src/blocks/inline.ts'
import { readConfig } from '../../src/config.ts'
import { deniedGet } from '../../src/content/denied-get.ts'
import { Denials } from '../../src/content/denylist.ts'
import { readDenylists } from '../../src/content/denylist-file.ts'
import { createGet } from '../../src/content/get.ts'
import type { IpnsResolver } from '../../src/content/resolve-ipns.ts'
import { CountingStore, importDag, pattern, putNode, putRaw } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'

const directory = Uint8Array.of(0x08, 0x01)
const text = (value: string) => Buffer.from(value)

async function openDenied() {
  const folder = mkdtempSync(join(tmpdir(), 'stowage-denied-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const store = new CountingStore()
  const denials = new Denials()
  const { limits } = readConfig({})
  const blocks = denied(inline(store), (cid) => denials.checkBlock(cid))
  const get = deniedGet(createGet({ blocks, limits }), denials)
  const leaf = await putRaw(store, text('by name'))
  const ipns: IpnsResolver = {
    resolve: async () => ({ path: { root: leaf, segments: [] }, maxAgeSeconds: 60 }),
    isKnown: async () => true,
    record: () => Promise.reject(new Error('not asked for here')),
  }
  const parts = { get, ipns, checkName: denials.checkName.bind(denials) }
  const gateway = await openGateway(onTestFinished, {}, store, { parts })
  const deny = async (...lines: readonly string[]) => {
    writeFileSync(join(folder, 'a.deny'), lines.join('\n'))
    denials.use((await readDenylists([join(folder, 'a.deny')])).list)
  }
  const statusOf = async (path: string, headers = {}) => (await gateway.ask(path, { headers })).status
  return { ...gateway, deny, statusOf, leaf }
}

test('a denied root is 410 in every format and by every method, and nothing of it is kept by caches', async () => {
  const { ask, store, deny, statusOf, logged } = await openDenied()
  const cid = await putRaw(store, text('bad'))
  expect(await statusOf(`/ipfs/${cid}`)).toBe(200)
  await deny(`/ipfs/${cid}`)
  for (const query of ['', '?format=raw', '?format=car', '?format=tar', '?format=json', '?filename=a.txt']) {
    for (const method of ['GET', 'HEAD']) {
      const answer = await ask(`/ipfs/${cid}${query}`, { method, headers: { accept: 'application/json' } })
      expect([query, answer.status, answer.headers['cache-control']]).toEqual([query, 410, 'no-store'])
      if (method === 'GET') expect(JSON.parse(answer.text)).toMatchObject({ code: 'content_denied' })
    }
  }
  expect(await statusOf(`/ipfs/${cid}`, { 'if-none-match': '*' })).toBe(410)
  expect(await statusOf(`/ipfs/${cid}`, { range: 'bytes=0-1' })).toBe(410)
  expect(await statusOf(`/ipfs/b${cid.toString().slice(1).toUpperCase()}`)).toBe(410)
  expect(logged).toEqual([])
  await deny(`/ipfs/${cid} gateway_status:451`)
  expect(await statusOf(`/ipfs/${cid}`)).toBe(451)
  await deny(`/ipfs/${cid}`, `!/ipfs/${cid}`)
  expect(await statusOf(`/ipfs/${cid}`)).toBe(200)
})

test('a denied block does not get out through its parents: not by path, in a CAR, in a tar, nor as a part of a file', async () => {
  const { ask, store, deny, statusOf } = await openDenied()
  const bad = await putRaw(store, text('bad'))
  const root = await putNode(store, directory, [
    { cid: await putRaw(store, pattern(300_000)), name: 'a' },
    { cid: bad, name: 'b' },
  ])
  const content = pattern(3 << 20)
  const file = await importDag(store, [{ path: 'a', content }], { chunkBytes: 65_536 })
  store.forget()
  await ask(`/ipfs/${file}?filename=a.bin`, { headers: { range: 'bytes=3000000-3000000' } })
  const late = store.asked.at(-1)
  await deny(`/ipfs/${bad}`, `/ipfs/${late}`)
  expect(await statusOf(`/ipfs/${root}/b`)).toBe(410)
  expect(await statusOf(`/ipfs/${root}/b?format=raw`)).toBe(410)
  expect(await statusOf(`/ipfs/${root}/`)).toBe(200)
  // By how much is read ahead, it is met before the first byte or after it.
  for (const path of [`${root}?format=car`, `${root}?format=tar`, `${file}?filename=a.bin`, `${file}?format=car`]) {
    const answer = await ask(`/ipfs/${path}`).catch(() => undefined)
    expect([path, answer?.status ?? 'cut']).toEqual([path, expect.toBeOneOf([410, 'cut'])])
  }
  expect(await statusOf(`/ipfs/${file}?filename=a.bin`, { range: 'bytes=3000000-3000001' })).toBe(410)
})

test('a shard of a large directory and the way to it are denied like any block', async () => {
  const { store, deny, statusOf, ask } = await openDenied()
  const entries = Array.from({ length: 3000 }, (_, index) => ({
    path: `d/${'name'.repeat(20)}${index}`,
    content: text(String(index)),
  }))
  const root = await importDag(store, entries)
  const path = `/ipfs/${root}/${'name'.repeat(20)}1234`
  store.forget()
  expect((await ask(path)).text).toBe('1234')
  const shard = store.asked[1]
  expect(store.asked.length).toBeGreaterThan(2)
  await deny(`/ipfs/${shard}`)
  expect(await statusOf(path)).toBe(410)
})

test('a path rule holds for its path alone, and also where its directory is met below another root', async () => {
  const { store, deny, statusOf } = await openDenied()
  const inner = await importDag(store, [
    { path: 'd/secret/1.txt', content: text('1') },
    { path: 'd/open.txt', content: text('2') },
  ])
  const outer = await putNode(store, directory, [{ cid: inner, name: 'in' }])
  await deny(`/ipfs/${inner}/secret*`)
  expect(await statusOf(`/ipfs/${inner}/secret/1.txt`)).toBe(410)
  expect(await statusOf(`/ipfs/${outer}/in/secret/1.txt`)).toBe(410)
  expect(await statusOf(`/ipfs/${outer}/in/secret/`)).toBe(410)
  expect(await statusOf(`/ipfs/${inner}/open.txt`)).toBe(200)
  expect(await statusOf(`/ipfs/${outer}/in/open.txt`)).toBe(200)
  // A CAR that proves an absence is content too.
  for (const [path, status] of [
    [`${inner}/secret/nothing`, 410],
    [`${outer}/in/secret/nothing`, 410],
    [`${outer}/in/secrets/nothing`, 410],
    [`${outer}/in/nothing`, 200],
  ] as const) {
    expect([path, await statusOf(`/ipfs/${path}?format=car`)]).toEqual([path, status])
  }
  await deny(`/ipfs/${inner}`)
  expect(await statusOf(`/ipfs/${outer}/in/nothing?format=car`)).toBe(410)
})

test('IPNS: by name before it is looked up, by path, and by what it leads to', async () => {
  const { deny, statusOf, leaf } = await openDenied()
  const name = 'site.example'
  expect(await statusOf(`/ipns/${name}`)).toBe(200)
  await deny(`/ipns/${name} gateway_status:451`)
  expect(await statusOf(`/ipns/${name}`)).toBe(451)
  expect(await statusOf(`/ipns/${name}/x`)).toBe(451)
  await deny(`/ipns/${name}/x`)
  expect([await statusOf(`/ipns/${name}/x`), await statusOf(`/ipns/${name}`)]).toEqual([410, 200])
  await deny(`/ipfs/${leaf}`)
  expect(await statusOf(`/ipns/${name}`)).toBe(410)
})
