import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, writeFile } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { startTimeOf } from '../../src/lib/process-identity.ts'
import { type NodeProcess, program } from '../support/node-process.ts'
import { roundTrip, serverPid, startServing, temporaryFolder, waiting } from '../support/serving.ts'

const MiB = 1024 * 1024

/** An upload whose first part the node has; `finish` sends the rest and resolves with the status. */
async function slowUpload(node: NodeProcess): Promise<{ finish(): Promise<number>; readonly cut: Promise<unknown> }> {
  const headers = { authorization: `Bearer ${node.token}`, expect: '100-continue', 'content-length': String(2 * MiB) }
  const request = httpRequest(`${node.apiUrl}/api/v1/objects`, { method: 'POST', agent: false, headers })
  const answered = once(request, 'response') as Promise<[IncomingMessage]>
  answered.catch(() => undefined)
  const cut = once(request, 'error')
  cut.catch(() => undefined)
  request.flushHeaders()
  // The node asks for the body: so the upload is under way.
  await once(request, 'continue')
  request.write(randomBytes(MiB))
  return {
    cut,
    finish: async () => {
      request.end(randomBytes(MiB))
      const [response] = await answered
      response.resume()
      return response.statusCode ?? 0
    },
  }
}

/** A download of which nothing is taken. */
async function stuckDownload(node: NodeProcess, cid: string): Promise<Socket> {
  const socket = connect(Number(new URL(node.gatewayUrl).port), '127.0.0.1')
  socket.on('error', () => undefined)
  onTestFinished(() => void socket.destroy())
  socket.write(`GET /ipfs/${cid} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await once(socket, 'readable')
  return socket
}

async function refusesConnections(url: string): Promise<void> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  await expect(once(socket, 'connect').finally(() => socket.destroy())).rejects.toMatchObject({ code: 'ECONNREFUSED' })
}

async function expectAllGone(node: NodeProcess, server: number | undefined): Promise<void> {
  expect(server).toBeDefined()
  expect(await startTimeOf(server ?? 0)).toBeUndefined()
  const left = await readdir(node.dataDir)
  for (const name of ['node.lock', 'node.json', 'nats-server.pid']) expect(left).not.toContain(name)
}

test.each(['SIGTERM', 'SIGINT'] as const)(
  '%s: an upload under way finishes, nobody new is let in, then all is gone',
  async (signal) => {
    const node = await startServing(onTestFinished, { env: { STOWAGE_SHUTDOWN_SECONDS: '60' } })
    const server = await serverPid(node.dataDir)
    const upload = await slowUpload(node)
    const ended = node.end(signal)
    await vi.waitFor(() => refusesConnections(node.apiUrl), waiting)
    await vi.waitFor(() => refusesConnections(node.gatewayUrl), waiting)
    expect(await upload.finish()).toBe(201)
    expect(await ended).toBe(0)
    await expectAllGone(node, server)
  },
)

test('what takes longer than STOWAGE_SHUTDOWN_SECONDS is cut, and the stop is as clean as any', async () => {
  const node = await startServing(onTestFinished, { env: { STOWAGE_SHUTDOWN_SECONDS: '0.2' } })
  const server = await serverPid(node.dataDir)
  const cid = await roundTrip(node, randomBytes(32 * MiB))
  const download = await stuckDownload(node, cid)
  const upload = await slowUpload(node)
  expect(await node.end('SIGTERM')).toBe(0)
  await upload.cut
  download.resume()
  await once(download, 'close')
  await expectAllGone(node, server)
})

test.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)('a second %s ends the node at once, and its server soon after', async (signal, exitCode) => {
  const node = await startServing(onTestFinished, { env: { STOWAGE_SHUTDOWN_SECONDS: '60' } })
  const server = await serverPid(node.dataDir)
  const upload = await slowUpload(node)
  const first = node.end(signal)
  await vi.waitFor(() => refusesConnections(node.apiUrl), waiting)
  expect(await node.end(signal)).toBe(exitCode)
  await Promise.all([first, upload.cut])
  await vi.waitFor(async () => expect(await startTimeOf(server ?? 0)).toBeUndefined(), waiting)
  // The lock it left is that of a process which is gone: nothing is in the way of the next start.
  const again = await startServing(onTestFinished, { dataDir: node.dataDir })
  await roundTrip(again, randomBytes(1000))
})

test('a signal ends a start that takes long, and nothing stays behind', async () => {
  const dataDir = await temporaryFolder(onTestFinished)
  const natsServer = join(await temporaryFolder(onTestFinished), 'nats-server')
  const script = '#!/bin/sh\n[ "$1" = --version ] && { echo "nats-server: v2.15.1"; exit; }\nexec sleep 600\n'
  await writeFile(natsServer, script, { mode: 0o755 })
  const child = spawn(process.execPath, [program, 'serve', '--data', dataDir, '--nats-port', '0'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env.PATH, HOME: dataDir, STOWAGE_NATS_SERVER: natsServer },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  await vi.waitFor(async () => expect(await serverPid(dataDir)).toBeDefined(), waiting)
  const server = await serverPid(dataDir)
  const closed = once(child, 'close')
  child.kill('SIGINT')
  await closed
  expect([child.exitCode, said]).toEqual([130, ''])
  expect(await startTimeOf(server ?? 0)).toBeUndefined()
  expect(await readdir(dataDir)).not.toContain('node.lock')
})
