import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, inject, test } from 'vitest'
import { renderServerConfig } from '../../src/nats/server-config.ts'

const options = { dataDir: '/data', port: 4222, site: 'paris', storeBytesMax: 10_000_000_000 }

test('the configuration binds to loopback, opens no other port, and syncs every write', () => {
  const lines = renderServerConfig(options)
    .split('\n')
    .map((line) => line.trim())
  expect(lines).toContain('listen: "127.0.0.1:4222"')
  expect(lines).toContain('max_payload: 8MB')
  expect(lines).toContain('sync_interval: always')
  expect(lines).toContain('domain: "paris"')
  expect(lines).toContain('max_file_store: 10000000000')
  for (const listener of ['http', 'cluster', 'leafnodes', 'gateway', 'websocket', 'mqtt', '0.0.0.0']) {
    expect(lines.filter((line) => !line.startsWith('#')).join('\n')).not.toContain(listener)
  }
})

test('any free port is -1, the word of the server for it', () => {
  expect(renderServerConfig({ ...options, port: 0 })).toContain('listen: "127.0.0.1:-1"')
})

test('every setting has its reason in the line above', () => {
  const lines = renderServerConfig(options)
    .split('\n')
    .map((line) => line.trim())
  const settings = lines.filter((line) => /^[a-z_]+: /.test(line) && !line.startsWith('logfile_'))
  for (const setting of settings) expect(lines[lines.indexOf(setting) - 1], setting).toMatch(/^# \S/)
  expect(settings.length).toBeGreaterThan(8)
})

test('the server accepts it, also in a folder whose name needs quoting', async ({ onTestFinished }) => {
  const folder = await mkdtemp(join(tmpdir(), 'stowage "config" – $x '))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'nats-server.conf')
  await writeFile(file, renderServerConfig({ ...options, dataDir: folder }))
  expect(() => execFileSync(inject('natsServer'), ['-t', '-c', file], { stdio: 'pipe' })).not.toThrow()
})
