import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, inject, test } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { renderServerConfig } from '../../src/nats/server-config.ts'

const options = { dataDir: '/data', port: 4222, site: 'paris', storeBytesMax: 10_000_000_000 }

const render = (env: Readonly<Record<string, string>>, dataDir = '/data') => {
  const { leaf } = readConfig({ STOWAGE_SITE: 'paris', ...env }).nats
  return renderServerConfig({ ...options, dataDir, leaf: { ...leaf, domain: 'acme' } })
}

const hub = { STOWAGE_LEAF_LISTEN: 'hub:s%40cret@0.0.0.0:7422' }
const leaf = { STOWAGE_LEAF_REMOTE: 'nats-leaf://paris:s%40cret@hub.example:7422, tls://[::1]:7423' }

test('a hub takes leaves that know its password, and tells them no other address', () => {
  const lines = render(hub).split('\n')
  expect(lines).toContain('  listen: "0.0.0.0:7422"')
  expect(lines).toContain('  no_advertise: true')
  expect(lines.map((line) => line.trim())).toEqual(expect.arrayContaining(['user: "hub"', 'password: "s@cret"']))
})

test('a leaf keeps commands, dead letters and blocks to itself, in both directions', () => {
  const text = render(leaf)
  expect(text).toContain('urls: ["nats-leaf://paris:s%40cret@hub.example:7422", "tls://[::1]:7423"]')
  const denied = '["acme.queue.>", "acme.dead.>", "acme.moves.>", "acme.reads.>", "$O.>"]'
  expect(text).toContain(`deny_imports: ${denied}`)
  expect(text).toContain(`deny_exports: ${denied}`)
})

test.each([hub, leaf, { STOWAGE_LEAF_LISTEN: '[::1]:7422' }, { ...hub, ...leaf }])(
  'the server accepts %o, and every line has its reason',
  async (env) => {
    const folder = await mkdtemp(join(tmpdir(), 'stowage-leaf-'))
    try {
      const file = join(folder, 'nats-server.conf')
      await writeFile(file, render(env, folder))
      expect(() => execFileSync(inject('natsServer'), ['-t', '-c', file], { stdio: 'pipe' })).not.toThrow()
      const lines = render(env, folder)
        .split('\n')
        .map((line) => line.trim())
      for (const name of ['listen:', 'no_advertise', 'authorization', 'urls', 'deny_imports']) {
        for (const [at, line] of lines.entries())
          if (line.startsWith(name)) expect(lines[at - 1], line).toMatch(/^# \S/)
      }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  },
)

test.each([
  ['LEAF_LISTEN', '7422'],
  ['LEAF_LISTEN', 'secretive@0.0.0.0:7422'],
  ['LEAF_LISTEN', '0.0.0.0:7422'],
  ['LEAF_LISTEN', 'a:secretive@0.0.0.0'],
  ['LEAF_REMOTE', 'http://a:secretive@hub:7422'],
  ['LEAF_REMOTE', 'nats-leaf://a:secretive@hub'],
  ['LEAF_REMOTE', 'nats-leaf://a:secretive@hub:7422/x'],
  ['LEAF_REMOTE', 'nats-leaf://hub:7422,'],
])('%s=%s is refused, and no password is repeated', (name, value) => {
  const read = () => readConfig({ STOWAGE_SITE: 'paris', [`STOWAGE_${name}`]: value })
  expect(read).toThrow(
    expect.objectContaining({ code: 'SETTING_INVALID', message: expect.stringContaining(`STOWAGE_${name}`) }),
  )
  expect(read).not.toThrow(/secretive/)
})

test('leaves are for an embedded server, and its site has a name of its own', () => {
  expect(() => readConfig(leaf)).toThrow(/STOWAGE_SITE/)
  const external = { ...leaf, STOWAGE_SITE: 'paris', STOWAGE_NATS_URL: 'nats://127.0.0.1:4222' }
  expect(() => readConfig(external)).toThrow(/STOWAGE_LEAF_REMOTE/)
})
