import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, type TestContext, test, vi } from 'vitest'
import { type CrashPoint, crashPoints } from '../../src/lib/crash-point.ts'
import { uuidv7 } from '../../src/lib/uuid.ts'
import { readMessage } from '../../src/names/name-fold.ts'
import { verifyIndex } from '../../src/names/rebuild.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { type NodeProcess, startNodeProcess } from '../support/node-process.ts'
import { contextOf, fileOf, freshDomain, openTestVerbs, signal, type TestVerbs } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

interface Case {
  readonly command: 'put' | 'name' | 'delete' | 'ipns' | 'elsewhere'
  /** Whether the command's events are in the log when the process dies at this step. */
  readonly committed: boolean
}

/** A step without a case does not compile, and fails the first test. */
const cases: Readonly<Record<CrashPoint, Case>> = {
  'put-accepted': { command: 'put', committed: false },
  'put-first-byte': { command: 'put', committed: false },
  'put-stored': { command: 'put', committed: false },
  'put-decided': { command: 'put', committed: false },
  'put-committed': { command: 'put', committed: true },
  'put-indexed': { command: 'put', committed: true },
  'names-decided': { command: 'name', committed: false },
  'names-committed': { command: 'name', committed: true },
  'names-indexed': { command: 'name', committed: true },
  'ref-written': { command: 'name', committed: true },
  'entry-written': { command: 'name', committed: true },
  'delete-decided': { command: 'delete', committed: false },
  'delete-committed': { command: 'delete', committed: true },
  'delete-indexed': { command: 'delete', committed: true },
  'ipns-decided': { command: 'ipns', committed: false },
  'ipns-committed': { command: 'ipns', committed: true },
  'ipns-indexed': { command: 'ipns', committed: true },
  // The command is another node's; this one dies while it brings the index up.
  'projector-read': { command: 'elsewhere', committed: true },
  'projector-indexed': { command: 'elsewhere', committed: true },
}

const content = 'put by the command that dies'
const token = 'test-token'

async function startNode(onFinished: TestContext['onTestFinished'], domain: string, crashAt?: CrashPoint) {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-crash-'))
  const env = {
    STOWAGE_NATS_URL: server.url,
    STOWAGE_DOMAIN: domain,
    STOWAGE_SHARDS: '1',
    STOWAGE_TOKEN: token,
    STOWAGE_LOG: 'warn',
    NODE_ENV: 'test',
    ...(crashAt === undefined ? {} : { CRASH_AT: crashAt }),
  }
  const node = await startNodeProcess({ dataDir, natsServer: inject('natsServer'), env })
  onFinished(async () => {
    await node.end('SIGKILL')
    await rm(dataDir, { recursive: true, force: true })
  })
  return node
}

function send(node: NodeProcess, command: Case['command'], id: string, baseline: string) {
  const headers = { authorization: `Bearer ${token}`, 'stowage-command-id': id }
  const of = (path: string, init: RequestInit) => fetch(`${node.apiUrl}/api/v1/${path}`, { ...init, headers })
  switch (command) {
    case 'put':
      return of('names/made', { method: 'PUT', body: content })
    case 'name':
      return of(`names/made?cid=${baseline}`, { method: 'PUT' })
    case 'delete':
      return of(`objects/${baseline}?force=true`, { method: 'DELETE' })
    case 'ipns':
      return of('ipns/made.example.org', { method: 'PUT', body: `/ipfs/${baseline}` })
    case 'elsewhere':
      throw new Error('not sent to the node')
  }
}

/** How many events of this command the log has. */
async function eventsOf(near: TestVerbs, id: string): Promise<number> {
  const events = (await near.events()).flatMap((message) => readMessage(message)?.event ?? [])
  return events.filter((event) => event.id === id || event.data.command === id).length
}

/** Every event's content is there, byte for byte by its hash, unless it was deleted. */
async function expectContent(near: TestVerbs, node: NodeProcess): Promise<void> {
  for (const message of await near.events()) {
    for (const effect of readMessage(message)?.effects ?? []) {
      if (effect.kind === 'ipns') continue
      const cid = effect.kind === 'object' ? effect.cid : effect.entry?.cid
      if (cid === undefined) continue
      const response = await fetch(`${node.gatewayUrl}/ipfs/${cid}`)
      await response.arrayBuffer()
      expect([cid, [200, 410].includes(response.status)]).toEqual([cid, true])
    }
  }
}

test('every step has a case', () => {
  expect(Object.keys(cases).sort()).toEqual([...crashPoints].sort())
})

test.concurrent.for(crashPoints)(
  'killed at %s: nothing acked is lost, nothing is half done',
  async (point, { onTestFinished }) => {
    const { command, committed } = cases[point]
    const domain = freshDomain()
    const near = await openTestVerbs(server.url, onTestFinished, { domain, projector: false })
    const acked = await near.verbs.put(contextOf(), fileOf('acked before'), { name: 'acked', signal })
    const baseline = acked.cid.toString()
    const id = uuidv7()
    if (command === 'elsewhere') {
      await near.verbs.put(contextOf(id), fileOf(content), { name: 'made', signal })
      // It has all of this before it, so it may die before it says that it is ready.
      await expect(startNode(onTestFinished, domain, point).then((node) => dead(node))).rejects.toThrow(
        /SIGKILL|not start/,
      )
    } else {
      const dying = await startNode(onTestFinished, domain, point)
      await expect(send(dying, command, id, baseline)).rejects.toThrow()
      expect(await dying.end('SIGTERM')).toBe('SIGKILL')
    }

    const node = await startNode(onTestFinished, domain)
    expect((await eventsOf(near, id)) > 0).toBe(committed)
    await caughtUp(near)
    expect(await verifyIndex(near.names, { repair: false, signal })).toMatchObject({ differences: [], skipped: 0 })
    await expectContent(near, node)
    const gone = command === 'delete' && committed
    const name = await near.verbs.resolveName('acked', { signal }).catch(() => undefined)
    expect(name).toEqual(gone ? undefined : acked.name)

    // Who sends it again, because it heard nothing, gets one effect.
    if (command === 'elsewhere') return
    const before = await eventsOf(near, id)
    const again = await send(node, command, id, baseline)
    expect([again.status, again.status < 300 ? '' : await again.text()]).toEqual([
      again.status < 300 ? again.status : 200,
      '',
    ])
    const after = await eventsOf(near, id)
    expect(after).toBeGreaterThan(0)
    if (committed) expect(after).toBe(before)
    await caughtUp(near)
    expect(await verifyIndex(near.names, { repair: false, signal })).toMatchObject({ differences: [] })
  },
)

async function caughtUp({ nats, log }: TestVerbs): Promise<void> {
  await vi.waitFor(
    async () => {
      const info = await nats.jsm.consumers.info(log.stream, 'index-local-main')
      expect(info.num_pending + info.num_ack_pending).toBe(0)
    },
    // What the dead process had taken comes again when its time to acknowledge is over.
    { timeout: 50_000, interval: 50 },
  )
}

/** @throws Error that says how it ended */
async function dead(node: NodeProcess): Promise<never> {
  await vi.waitFor(() => expect(() => process.kill(node.pid, 0)).toThrow(), { timeout: 10_000 })
  throw new Error(`ended by ${await node.end('SIGTERM')}`)
}
