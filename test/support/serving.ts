import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, inject, type TestContext } from 'vitest'
import { startTimeOf } from '../../src/lib/process-identity.ts'
import { type NodeProcess, type NodeProcessOptions, startNodeProcess } from './node-process.ts'

type OnFinished = TestContext['onTestFinished']

export const waiting = { timeout: 20_000, interval: 20 }

export async function temporaryFolder(onFinished: OnFinished): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'stowage-setup-'))
  onFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
  return folder
}

/** `stowage serve` as a process of its own, with a data folder of its own unless one is given; gone when the test is. */
export async function startServing(
  onFinished: OnFinished,
  options: Partial<NodeProcessOptions> = {},
): Promise<NodeProcess> {
  const dataDir = options.dataDir ?? (await temporaryFolder(onFinished))
  const node = await startNodeProcess({ natsServer: inject('natsServer'), ...options, dataDir })
  onFinished(async () => {
    await node.end('SIGKILL')
    await killServer(dataDir)
  })
  return node
}

/** The embedded server of a data folder; undefined when none was started. */
export async function serverPid(dataDir: string): Promise<number | undefined> {
  const text = await readFile(join(dataDir, 'nats-server.pid'), 'utf8').catch(() => '')
  return text === '' ? undefined : (JSON.parse(text) as { pid: number }).pid
}

export async function killServer(dataDir: string): Promise<void> {
  const pid = await serverPid(dataDir)
  if (pid !== undefined && (await startTimeOf(pid)) !== undefined) process.kill(pid, 'SIGKILL')
}

export interface Uploaded {
  readonly status: number
  readonly headers: Headers
  readonly body: { readonly cid?: string; readonly code?: string; readonly hint?: string; readonly message?: string }
}

export async function upload(
  node: Pick<NodeProcess, 'apiUrl' | 'token'>,
  bytes: Uint8Array,
  token: string | undefined = node.token,
): Promise<Uploaded> {
  const reply = await fetch(`${node.apiUrl}/api/v1/objects`, {
    method: 'POST',
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    body: bytes,
  })
  return { status: reply.status, headers: reply.headers, body: (await reply.json()) as Uploaded['body'] }
}

export async function download(node: Pick<NodeProcess, 'gatewayUrl'>, cid: string | undefined): Promise<Buffer> {
  const reply = await fetch(`${node.gatewayUrl}/ipfs/${cid}`)
  expect(reply.status).toBe(200)
  return Buffer.from(await reply.arrayBuffer())
}

/** Stores the bytes and reads them back, through both connections to NATS. */
export async function roundTrip(node: NodeProcess, bytes: Uint8Array): Promise<string> {
  const { status, body } = await upload(node, bytes)
  expect([status, body]).toMatchObject([201, { cid: expect.any(String) }])
  expect(Buffer.compare(await download(node, body.cid), bytes)).toBe(0)
  return body.cid ?? ''
}

interface Status {
  readonly nats: { readonly mode: string; readonly durability: string; readonly url: string; readonly restarts: number }
}

export async function statusOf(node: Pick<NodeProcess, 'apiUrl'>): Promise<Status> {
  return (await (await fetch(`${node.apiUrl}/api/v1/status`)).json()) as Status
}
