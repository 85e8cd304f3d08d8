import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { isOnPath } from './bench.ts'
import { atEnd, ownProcess, processGone, temporaryFolder } from './cleanup.ts'
import type { HttpResult } from './http-job.ts'
import { runJob } from './run-job.ts'

const readyMsMax = 30_000

/** Kubo, offline, on free ports, in a repository of its own, with the same UnixFS profile as ours. Nothing is pinned. */
export interface Kubo {
  readonly gatewayUrl: () => string
  restart(): Promise<void>
  stop(): Promise<void>
  /** `/api/v0/<command>` with the body as one file part. */
  post(command: string, body: number | string): Promise<HttpResult>
  /** The same with a prepared multipart body. */
  postMultipart(command: string, file: string, boundary: string): Promise<HttpResult>
  get(path: string): Promise<HttpResult>
}

/** Undefined when `ipfs` is not on PATH. `sync`: flatfs with an fsync for each block, or without. */
export async function startKubo({ sync }: { readonly sync: boolean }): Promise<Kubo | undefined> {
  if (!isOnPath('ipfs')) return undefined
  const repository = await temporaryFolder('kubo')
  const env = { ...process.env, IPFS_PATH: repository, IPFS_TELEMETRY: 'off' }
  // `test`: loopback only, no bootstrap, free ports.
  await promisify(execFile)('ipfs', ['init', '--profile=test,unixfs-v1-2025'], { env })
  await configure(join(repository, 'config'), sync)
  let daemon = await startDaemon(repository, env)
  const stop = () => endDaemon(daemon.child)
  atEnd(stop)
  const post = (command: string, rest: object) =>
    runJob<HttpResult>('http-client.ts', { kind: 'upload', url: `${daemon.apiUrl}/api/v0/${command}`, ...rest })
  return {
    gatewayUrl: () => daemon.gatewayUrl,
    stop,
    async restart() {
      await stop()
      daemon = await startDaemon(repository, env)
    },
    post: (command, body) =>
      post(command, {
        headers: { 'content-type': 'multipart/form-data; boundary=bench' },
        body,
        before:
          '--bench\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n' +
          'Content-Type: application/octet-stream\r\n\r\n',
        after: '\r\n--bench--\r\n',
      }),
    postMultipart: (command, file, boundary) =>
      post(command, { headers: { 'content-type': `multipart/form-data; boundary=${boundary}` }, body: file }),
    get: (path) => runJob<HttpResult>('http-client.ts', { kind: 'download', url: `${daemon.gatewayUrl}${path}` }),
  }
}

interface KuboConfig {
  readonly Datastore: { readonly Spec: { readonly mounts: Record<string, unknown>[] } }
  readonly Addresses: Record<string, unknown>
}

async function configure(file: string, sync: boolean): Promise<void> {
  const config = JSON.parse(await readFile(file, 'utf8')) as KuboConfig
  for (const mount of config.Datastore.Spec.mounts) if (mount.type === 'flatfs') mount.sync = sync
  config.Addresses.Swarm = []
  await writeFile(file, JSON.stringify(config, null, 2))
}

async function startDaemon(repository: string, env: NodeJS.ProcessEnv) {
  // Kubo writes these when it listens; an old one would name a port that is gone.
  await rm(join(repository, 'api'), { force: true })
  await rm(join(repository, 'gateway'), { force: true })
  const child = spawn('ipfs', ['daemon', '--offline'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  ownProcess(child.pid)
  const output: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => output.push(text))
  }
  const endMs = Date.now() + readyMsMax
  while (!output.join('').includes('Daemon is ready')) {
    if (child.exitCode !== null || Date.now() > endMs) throw new Error(`ipfs did not start: ${output.join('')}`)
    await delay(20)
  }
  const api = /\/ip4\/127\.0\.0\.1\/tcp\/(\d+)/.exec(await readFile(join(repository, 'api'), 'utf8'))?.[1]
  const gatewayUrl = (await readFile(join(repository, 'gateway'), 'utf8')).trim()
  return { child, apiUrl: `http://127.0.0.1:${api}`, gatewayUrl }
}

async function endDaemon(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  await gone
  processGone(child.pid)
}
