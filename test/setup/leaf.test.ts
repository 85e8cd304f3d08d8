import { setTimeout as delay } from 'node:timers/promises'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, headers } from '@nats-io/transport-node'
import { expect, inject, type TestContext, test } from 'vitest'
import { testFolder } from '../support/cli.ts'
import { type NodeProcess, runNodeToItsEnd, startNodeProcess } from '../support/node-process.ts'
import { freePorts } from '../support/ports.ts'

type OnFinished = TestContext['onTestFinished']

async function startSite(onFinished: OnFinished, site: string, env: Readonly<Record<string, string>>) {
  const dataDir = await testFolder(onFinished)
  const node = await startNodeProcess({
    ...{ dataDir, natsServer: inject('natsServer') },
    env: { STOWAGE_SITE: site, STOWAGE_SHARDS: '1', ...env },
  })
  onFinished(() => node.end('SIGTERM').then(() => undefined))
  const [natsUrl = ''] = /nats:\/\/127\.0\.0\.1:\d+/.exec(node.output()) ?? []
  const nats = await connect({ servers: natsUrl })
  onFinished(() => nats.close())
  const jsm = await jetstreamManager(nats)
  const count = async (stream: string, subject = '>') => {
    const { state } = await jsm.streams.info(stream, { subjects_filter: subject })
    return Object.values(state.subjects ?? {}).reduce((sum, messages) => sum + messages, 0)
  }
  return { site, node, nats, jsm, count }
}
type Started = Awaited<ReturnType<typeof startSite>>

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 30_000
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`waited in vain until ${what}`)
    await delay(50)
  }
}

async function put({ apiUrl, token }: NodeProcess, name: string, body: string): Promise<void> {
  const reply = await fetch(`${apiUrl}/api/v1/names/${name}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'text/plain' },
    body,
  })
  if (reply.status !== 201) throw new Error(`PUT ${name}: ${reply.status} ${await reply.text()}`)
}

const events = (site: Started, filter: string) => site.count('stowage_events', `stowage.evt.${filter}`)
const blocks = (site: Started, of = site) => site.count(`OBJ_stowage-main-${of.site}-a-0`)

test('two embedded nodes, joined as hub and leaf, share events and nothing else that a publish leaves', async ({
  onTestFinished,
}) => {
  const [port] = await freePorts(1)
  const hub = await startSite(onTestFinished, 'hub', { STOWAGE_LEAF_LISTEN: `hub:s3cret-word@127.0.0.1:${port}` })
  const paris = await startSite(onTestFinished, 'paris', {
    STOWAGE_LEAF_REMOTE: `nats-leaf://hub:s3cret-word@127.0.0.1:${port}`,
  })
  const both = [hub, paris]

  // Events of each are in the log of both.
  await put(paris.node, 'docs/paris', 'put in paris')
  await put(hub.node, 'docs/hub', 'put at the hub')
  for (const site of both) {
    for (const of of both)
      await until('events cross', async () => (await events(site, `${of.site}.main.name.set.>`)) === 1)
  }

  // Blocks lie where they were put: chunk and meta of one block each.
  for (const site of both) expect(await blocks(site)).toBe(2)
  hub.nats.publish('$O.stowage-main-paris-a-0.C.stray', 'x')
  hub.nats.publish('$KV.stowage_names.main.stray', 'x')
  hub.nats.publish('stowage.dead.main.put', 'x')
  await hub.nats.flush()

  // A queued command is carried out once, by the site that it was given to.
  const message = headers()
  for (const [key, value] of [
    ['Name', 'queued/one'],
    ['Nats-Msg-Id', 'order-1'],
  ] as const)
    message.set(key, value)
  await jetstream(paris.nats).publish('stowage.queue.main.put', 'queued in paris', { headers: message })
  for (const site of both)
    await until('it is done', async () => (await events(site, '*.main.name.set.queued.one')) === 1)
  expect(await events(hub, '*.main.object.added.>')).toBe(3)
  expect((await hub.jsm.streams.info('stowage_queue')).state.last_seq).toBe(0)
  expect((await paris.jsm.streams.info('stowage_queue')).state.last_seq).toBe(1)

  // What was published at the hub meanwhile has not come to paris.
  expect(await blocks(paris)).toBe(4)
  expect(await paris.count('KV_stowage_names', '$KV.stowage_names.main.stray')).toBe(0)
  expect((await paris.jsm.streams.info('stowage_dead')).state.last_seq).toBe(0)
  expect((await hub.jsm.streams.info('stowage_dead')).state.last_seq).toBe(1)

  // A query is answered where it is asked, also for what another site named.
  for (let i = 0; i < 20; i++) {
    const reply = await paris.nats.request('stowage.qry.main.get', 'docs/paris', { timeout: 10_000 })
    expect(reply.string()).toBe('put in paris')
  }
  await until('reads are recorded', async () => (await paris.jsm.streams.info('stowage_reads')).state.messages === 20)
  expect((await hub.jsm.streams.info('stowage_reads')).state.messages).toBe(0)

  for (const { node } of both) expect(node.output()).not.toContain('s3cret-word')
})

test('a leaf whose password is wrong is not let in, and goes on alone', async ({ onTestFinished }) => {
  const [port] = await freePorts(1)
  const hub = await startSite(onTestFinished, 'hub', { STOWAGE_LEAF_LISTEN: `hub:s3cret-word@127.0.0.1:${port}` })
  const paris = await startSite(onTestFinished, 'paris', {
    STOWAGE_LEAF_REMOTE: `nats-leaf://hub:an0ther-word@127.0.0.1:${port}`,
  })
  await put(paris.node, 'docs/paris', 'put in paris')
  await expect(paris.nats.request('$JS.hub.API.INFO', '', { timeout: 1_000 })).rejects.toThrow()
  expect(await events(hub, 'paris.>')).toBe(0)
  for (const { node } of [hub, paris]) expect(node.output()).not.toMatch(/s3cret-word|an0ther-word/)
})

test('an address for leaves that is taken is said with its setting', async ({ onTestFinished }) => {
  const [port] = await freePorts(1)
  await startSite(onTestFinished, 'hub', { STOWAGE_LEAF_LISTEN: `127.0.0.1:${port}` })
  const { exitCode, output } = await runNodeToItsEnd({
    ...{ dataDir: await testFolder(onTestFinished), natsServer: inject('natsServer') },
    env: { STOWAGE_SITE: 'other', STOWAGE_LEAF_LISTEN: `127.0.0.1:${port}` },
  })
  expect(exitCode).not.toBe(0)
  expect(output).toContain('STOWAGE_LEAF_LISTEN')
})
