import { spawn } from 'node:child_process'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { pino } from 'pino'
import { expect, inject, onTestFinished, test, vi } from 'vitest'
import { startTimeOf } from '../../src/lib/process-identity.ts'
import { type EmbeddedServer, type EmbeddedServerOptions, startEmbeddedServer } from '../../src/nats/server.ts'

const wait = { timeout: 20_000, interval: 20 }

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'stowage-server-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
  return folder
}

async function start(options: Partial<EmbeddedServerOptions> & { dataDir: string }): Promise<EmbeddedServer> {
  const log = pino({ level: 'silent' })
  const server = await startEmbeddedServer({ port: 0, site: 'local', binary: inject('natsServer'), log, ...options })
  onTestFinished(() => server.close())
  return server
}

async function connectTo(server: EmbeddedServer) {
  const connection = await connect({ servers: server.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 })
  onTestFinished(() => connection.close())
  return connection
}

const pidOf = async (folder: string): Promise<number> =>
  (JSON.parse(await readFile(join(folder, 'nats-server.pid'), 'utf8')) as { pid: number }).pid

test('the embedded server is up with JetStream, its domain and an 8 MiB payload when the start resolves', async () => {
  const server = await start({ dataDir: await temporaryFolder(), site: 'paris' })
  const connection = await connectTo(server)
  expect(connection.info).toMatchObject({
    jetstream: true,
    max_payload: 8 * 1024 * 1024,
    domain: 'paris',
    host: '127.0.0.1',
  })
  expect(server.version).toBe(connection.info?.version)
  expect(server.restarts).toBe(0)
})

test('a closed server is gone, its port and its data folder are free, and what it stored is there the next time', async () => {
  const dataDir = await temporaryFolder()
  const first = await start({ dataDir })
  const pid = await pidOf(dataDir)
  const connection = await connectTo(first)
  await (await jetstreamManager(connection)).streams.add({ name: 'kept', subjects: ['kept'] })
  await jetstream(connection).publish('kept', 'x')
  await connection.close()
  await first.close()
  expect(await startTimeOf(pid)).toBeUndefined()
  expect(await readdir(dataDir)).not.toContain('node.lock')
  const again = await start({ dataDir, port: Number(new URL(first.url).port) })
  const manager = await jetstreamManager(await connectTo(again))
  expect((await manager.streams.info('kept')).state.messages).toBe(1)
})

test('a server that is killed is started again on the same port and clients come back to it', async () => {
  const dataDir = await temporaryFolder()
  const server = await start({ dataDir })
  const connection = await connectTo(server)
  process.kill(await pidOf(dataDir), 'SIGKILL')
  await vi.waitFor(() => expect(server.restarts).toBe(1), wait)
  await vi.waitFor(() => connection.flush(), wait)
  expect(connection.getServer()).toBe(new URL(server.url).host)
})

test('a closed server is not started again', async () => {
  const dataDir = await temporaryFolder()
  const server = await start({ dataDir })
  process.kill(await pidOf(dataDir), 'SIGKILL')
  await Promise.all([server.close(), server.close()])
  expect(server.restarts).toBe(0)
  await expect(connect({ servers: server.url, reconnect: false })).rejects.toThrow()
  expect(await readdir(dataDir)).not.toContain('node.lock')
})

test('a server that an earlier node left behind is stopped, and the port is free for ours', async () => {
  const dataDir = await temporaryFolder()
  const first = await start({ dataDir })
  const port = Number(new URL(first.url).port)
  const record = await readFile(join(dataDir, 'nats-server.pid'), 'utf8')
  await first.close()
  // What kill -9 of a node leaves: its server, on its configuration, and the note of it.
  const config = await readFile(join(dataDir, 'nats-server.conf'), 'utf8')
  await writeFile(join(dataDir, 'nats-server.conf'), config.replace(':-1"', `:${port}"`))
  const orphan = spawn(inject('natsServer'), ['-c', join(dataDir, 'nats-server.conf')], { stdio: 'ignore' })
  onTestFinished(() => void orphan.kill('SIGKILL'))
  await vi.waitFor(async () => (await connect({ servers: first.url, reconnect: false })).close(), wait)
  const orphanPid = orphan.pid ?? 0
  const started = await startTimeOf(orphanPid)
  await writeFile(join(dataDir, 'nats-server.pid'), JSON.stringify({ ...JSON.parse(record), pid: orphanPid, started }))
  await start({ dataDir, port })
  expect(await startTimeOf(orphanPid)).toBeUndefined()
  expect(await pidOf(dataDir)).not.toBe(orphanPid)
})

test('a process that merely has the pid of an earlier server is left alone', async () => {
  const dataDir = await temporaryFolder()
  const other = spawn('sleep', ['600'], { stdio: 'ignore' })
  onTestFinished(() => void other.kill('SIGKILL'))
  const pid = other.pid ?? 0
  await writeFile(join(dataDir, 'nats-server.pid'), JSON.stringify({ pid, started: await startTimeOf(pid) }))
  await start({ dataDir })
  expect(await startTimeOf(pid)).toBeDefined()
})

test('a port that is taken is an error that names the setting, and the data folder is free again', async () => {
  const dataDir = await temporaryFolder()
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => new Promise<void>((resolve) => void other.close(() => resolve())))
  const port = (other.address() as { port: number }).port
  await expect(start({ dataDir, port })).rejects.toMatchObject({
    code: 'PORT_TAKEN',
    message: expect.stringContaining(String(port)),
    hint: expect.stringContaining('STOWAGE_NATS_PORT'),
  })
  expect(await readdir(dataDir)).not.toContain('node.lock')
})

test('two nodes on one data folder: the second is refused and the first runs on', async () => {
  const dataDir = await temporaryFolder()
  const first = await start({ dataDir })
  await expect(start({ dataDir })).rejects.toMatchObject({ code: 'DATA_FOLDER_LOCKED' })
  await (await connectTo(first)).flush()
})

/** A server that can be asked for its version and does no more. */
async function fakeServer(version: string, body: string): Promise<string> {
  const file = join(await temporaryFolder(), 'nats-server')
  await writeFile(file, `#!/bin/sh\nif [ "$1" = --version ]; then echo "nats-server: v${version}"; exit; fi\n${body}\n`)
  await chmod(file, 0o755)
  return file
}

test('a server that ends while starting is an error with its last words, and nothing is left behind', async () => {
  const dataDir = await temporaryFolder()
  const binary = await fakeServer('2.15.1', 'echo "something is broken" >&2; exit 3')
  await expect(start({ dataDir, binary })).rejects.toMatchObject({
    code: 'SERVER_FAILED',
    message: expect.stringMatching(/code 3.*something is broken/),
  })
  expect(await readdir(dataDir)).not.toContain('node.lock')
  expect(await readdir(dataDir)).not.toContain('nats-server.pid')
})

test('a server that takes too long to start is ended', async () => {
  const dataDir = await temporaryFolder()
  const binary = await fakeServer('2.15.1', 'echo $$ >&2; exec sleep 600')
  await expect(start({ dataDir, binary, readyMsMax: 300 })).rejects.toMatchObject({
    code: 'SERVER_FAILED',
    message: expect.stringContaining('not ready'),
  })
  const pid = Number(await readFile(join(dataDir, 'nats-server.stderr'), 'utf8'))
  expect(pid).toBeGreaterThan(1)
  expect(await startTimeOf(pid)).toBeUndefined()
})

test('a port that is taken between the check and the start is told from the words of the server', async () => {
  const binary = await fakeServer(
    '2.15.1',
    'echo "listen tcp 127.0.0.1:4222: bind: address already in use" >&2; exit 1',
  )
  await expect(start({ dataDir: await temporaryFolder(), binary })).rejects.toMatchObject({ code: 'PORT_TAKEN' })
})

test('a server that says a write failed is started again, since it would never write again by itself', async () => {
  const dataDir = await temporaryFolder()
  const server = await start({ dataDir })
  await writeFile(
    join(dataDir, 'nats-server.log'),
    "[ERR] JetStream stream '$G > s' critical write error: no space left on device\n",
    {
      flag: 'a',
    },
  )
  await vi.waitFor(() => expect(server.restarts).toBe(1), wait)
  await (await connectTo(server)).flush()
})

test('the data folder and the files in it are for its owner only', async () => {
  const dataDir = join(await temporaryFolder(), 'deep', 'data')
  await start({ dataDir })
  expect((await stat(dataDir)).mode & 0o777).toBe(0o700)
  expect((await stat(join(dataDir, 'nats-server.conf'))).mode & 0o077).toBe(0)
})
