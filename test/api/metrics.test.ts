import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { testFolder } from '../support/cli.ts'
import { startFullNode } from '../support/full-node.ts'
import { httpOf } from '../support/node-http.ts'

test('a node counts the limits that requests meet, and serves nothing that its denylist names, from when it names it', async () => {
  const list = join(await testFolder(onTestFinished), 'own.deny')
  writeFileSync(list, 'no rule at all\n')
  const env = { STOWAGE_DENYLIST: list, STOWAGE_FILE_BYTES_MAX: '10' }
  const full = await startFullNode(onTestFinished, { env })
  const { gateway, api, put } = httpOf(full)
  expect(full.errors.join()).toContain('own.deny:1: it is no rule')
  const long = await put('long', 'more than ten bytes')
  expect((await gateway(`/ipfs/${long.json?.cid}`)).status).toBe(410)
  const text = await fetch(`${full.node.apiUrl}/metrics`).then((answer) => answer.text())
  expect(text).toContain('# TYPE stowage_limit_hits_total counter\n')
  expect(text).toMatch(/^stowage_limit_hits_total\{listener="gateway",limit="file_bytes"\} 1$/m)
  expect(text).toMatch(/^stowage_limit_hits_total\{listener="api",limit="concurrent_total"\} 0$/m)
  const page = readFileSync(resolve(import.meta.dirname, '../../docs/http.md'), 'utf8')
  const names = Array.from(text.matchAll(/^# TYPE (\S+)/gm), ([, name]) => name ?? '')
  expect(names.filter((name) => !page.includes(`\`${name}`))).toEqual([])
  expect(names).toContain('stowage_log_damaged')
  expect((await api('/status')).json).toMatchObject({
    limitHits: { gateway: { file_bytes: 1 }, api: { file_bytes: 0 } },
  })
  const short = await put('short', 'short')
  const path = `/ipfs/${short.json?.cid}`
  expect((await gateway(path)).status).toBe(200)
  writeFileSync(list, `${path}\n`)
  await vi.waitFor(async () => expect((await gateway(path)).status).toBe(410), { timeout: 10_000 })
  for (const other of [`${path}?format=raw`, `${path}?format=car`, '/names/short', '/names/short?format=tar']) {
    expect((await gateway(other)).status).toBe(410)
  }
  expect((await api(`/objects/${short.json?.cid}`)).status).toBe(410)
})

test('a node counts the copies that it makes and what it reads for them', async () => {
  const full = await startFullNode(onTestFinished)
  const { api, put } = httpOf(full)
  const metrics = async () => {
    const text = await fetch(`${full.node.apiUrl}/metrics`).then((answer) => answer.text())
    return Object.fromEntries(
      Array.from(text.matchAll(/^(stowage_\w+) (\d+)$/gm), ([, name, value]) => [name, Number(value)]),
    )
  }
  expect(await metrics()).toMatchObject({ stowage_copies_made_total: 0, stowage_copy_bytes_read_total: 0 })
  const policy = JSON.stringify({ version: 1, rules: [{ name: 'two', copies: 2 }] })
  expect((await api('/policies/main', { method: 'PUT', body: policy })).status).toBe(201)
  await put('twice', 'x'.repeat(1_000))
  await vi.waitFor(
    async () => {
      const found = await metrics()
      expect(found).toMatchObject({ stowage_copies_made_total: 1, stowage_copies_under_way: 0, stowage_plans: 1 })
      // Read to be copied, and to be verified.
      expect(found.stowage_copy_bytes_read_total).toBe(2_000)
    },
    { timeout: 30_000, interval: 100 },
  )
})
