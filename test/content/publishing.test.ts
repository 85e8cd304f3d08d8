import { multihashToIPNSRoutingKey } from 'ipns'
import { ipnsValidator } from 'ipns/validator'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { parseIpnsName } from '../../src/content/ipns-name.ts'
import { readIpnsRecord } from '../../src/content/ipns-record.ts'
import { createPublishing, type Publishing } from '../../src/content/publishing.ts'
import { uuidv7 } from '../../src/lib/uuid.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { contextOf, fileOf, openTestVerbs, signal, type TestVerbs } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const secret = 'a secret of the test nodes'
const waiting = { timeout: 10_000, interval: 20 }

interface Node extends TestVerbs {
  readonly publishing: Publishing
}

async function openNode(
  onFinished: Parameters<typeof openTestVerbs>[1],
  options: Parameters<typeof openTestVerbs>[2] & {
    secret?: string | undefined
    sweepMs?: number
    failures?: unknown[]
  } = {},
): Promise<Node> {
  const node = await openTestVerbs(server.url, onFinished, options)
  const publishing = createPublishing({
    names: node.names,
    change: node.verbs.changeIpns,
    resolveName: node.verbs.resolveName,
    secret: 'secret' in options ? options.secret : secret,
    sweepMs: options.sweepMs ?? 100_000,
    onFailure: (error) => void options.failures?.push(error),
  })
  if (node.projector !== undefined) node.projector.onNames = publishing.namesChanged
  onFinished(() => publishing.close())
  return { ...node, publishing }
}

const publish = (node: Node, name: string, key: string, more: { lifetimeSeconds?: number; ttlSeconds?: number } = {}) =>
  node.publishing.publisher.publish(contextOf(), name, { key, lifetimeSeconds: 3600, ttlSeconds: 60, ...more, signal })

const put = (node: Node, name: string, text: string) => node.verbs.put(contextOf(), fileOf(text), { name, signal })

test('a published name is a record that others accept, with its revision as the sequence', async ({
  onTestFinished,
}) => {
  const node = await openNode(onTestFinished)
  const made = await node.publishing.keys.generate('site', { context: contextOf(), signal })
  const content = await put(node, 'docs/site', 'one')
  const { entry } = await publish(node, 'docs/site', 'site', { ttlSeconds: 90 })
  expect(entry).toMatchObject({
    name: made.name,
    value: `/ipfs/${content.cid}`,
    sequence: String(content.name?.revision),
    ttlSeconds: 90,
    binding: { name: 'docs/site' },
  })
  const name = parseIpnsName(made.name)
  if (name.kind !== 'key') throw new Error('no key')
  const bytes = Buffer.from(entry?.record ?? '', 'base64')
  expect(readIpnsRecord(bytes, name.multihash)).toMatchObject({ value: `/ipfs/${content.cid}` })
  await ipnsValidator(multihashToIPNSRoutingKey(name.multihash as never), bytes)
})

test('when the name changes, its key follows by itself', async ({ onTestFinished }) => {
  const node = await openNode(onTestFinished)
  const { name } = await node.publishing.keys.generate('site', { context: contextOf(), signal })
  await put(node, 'site', 'one')
  await publish(node, 'site', name)
  for (const text of ['two', 'three']) {
    const content = await put(node, 'site', text)
    await vi.waitFor(async () => {
      expect(await node.verbs.getIpns(name, { signal })).toMatchObject({
        value: `/ipfs/${content.cid}`,
        sequence: String(content.name?.revision),
      })
    }, waiting)
  }
  const undone = await node.verbs.undoName(contextOf(), 'site', undefined, { signal })
  await vi.waitFor(async () => {
    expect((await node.verbs.getIpns(name, { signal })).value).toBe(`/ipfs/${undone.entries[0]?.cid}`)
  }, waiting)
})

test('a node that was away catches up, and several nodes sign once for each change', async ({ onTestFinished }) => {
  const first = await openNode(onTestFinished)
  const { name } = await first.publishing.keys.generate('site', { context: contextOf(), signal })
  await put(first, 'site', 'one')
  await publish(first, 'site', 'site')
  await first.publishing.close()
  const content = await put(first, 'site', 'two')
  await first.projector?.waitCaughtUp(10_000, signal)
  const { domain } = first
  await Promise.all([1, 2, 3].map(() => openNode(onTestFinished, { domain, projector: false, sweepMs: 30 })))
  await vi.waitFor(async () => {
    expect((await first.verbs.getIpns(name, { signal })).value).toBe(`/ipfs/${content.cid}`)
  }, waiting)
  const published = (await first.events()).filter(({ subject }) => subject.includes('.ipns.published.'))
  expect(published).toHaveLength(2)
})

test('a record is signed anew when half of its life is over, under the same sequence', async ({ onTestFinished }) => {
  const node = await openNode(onTestFinished)
  await node.publishing.keys.generate('site', { context: contextOf(), signal })
  await put(node, 'site', 'one')
  const { entry } = await publish(node, 'site', 'site', { lifetimeSeconds: 3600 })
  if (entry === null) throw new Error('not published')
  expect(await node.publishing.publisher.renew(contextOf(), entry, { signal })).toBe(false)
  vi.useFakeTimers({ now: Date.now() + 1_900_000, toFake: ['Date'] })
  onTestFinished(() => void vi.useRealTimers())
  expect(await node.publishing.publisher.renew(contextOf(), entry, { signal })).toBe(true)
  const renewed = await node.verbs.getIpns(entry.name, { signal })
  expect([renewed.sequence, renewed.value]).toEqual([entry.sequence, entry.value])
  expect(Date.parse(renewed.validity ?? '')).toBeGreaterThan(Date.parse(entry.validity ?? ''))
  expect(await node.publishing.publisher.renew(contextOf(), entry, { signal })).toBe(false)
})

test('a private key lies nowhere in clear, is opened by the secret alone, and moves by export', async ({
  onTestFinished,
}) => {
  const node = await openNode(onTestFinished)
  const { keys } = node.publishing
  const { repeated: _, ...made } = await keys.generate('site', { context: contextOf(), signal })
  const pem = await keys.export('site', { signal })
  const der = Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64')
  await put(node, 'site', 'one')
  await publish(node, 'site', 'site')
  const stored = await node.names.keys.get('site', signal)
  const everything = [
    JSON.stringify(stored),
    ...(await node.events()).map(({ payload }) => Buffer.from(payload).toString()),
  ]
  const seed = der.subarray(-32)
  for (const text of everything) {
    for (const spelled of [seed.toString('base64'), seed.toString('hex'), seed.toString('latin1')]) {
      expect(text.includes(spelled)).toBe(false)
    }
    expect(Buffer.from(text, 'base64').includes(seed)).toBe(false)
  }
  expect(Buffer.from(stored?.sealed ?? '', 'base64').includes(seed)).toBe(false)

  const { domain } = node
  const stranger = await openNode(onTestFinished, { domain, projector: false, secret: 'another secret altogether' })
  await expect(stranger.publishing.keys.export('site', { signal })).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  const without = await openNode(onTestFinished, { domain, projector: false, secret: undefined })
  await expect(without.publishing.keys.generate('other', { context: contextOf(), signal })).rejects.toMatchObject({
    code: 'REQUEST_INVALID',
  })
  expect(await without.publishing.keys.list({ signal })).toEqual([made])

  await keys.remove('site', { signal })
  await expect(keys.export('site', { signal })).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
  expect(await keys.import('again', pem, { context: contextOf(), signal })).toMatchObject({
    label: 'again',
    name: made.name,
  })
  await expect(keys.import('again', pem, { context: contextOf(), signal })).rejects.toMatchObject({
    code: 'REVISION_CONFLICT',
  })
  for (const bad of ['', 'garbage', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----']) {
    await expect(keys.import('bad', bad, { context: contextOf(), signal })).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
  }
  await expect(keys.generate('a/b', { context: contextOf(), signal })).rejects.toMatchObject({
    code: 'REQUEST_INVALID',
  })
})

test('a key that is put in the place of another one does not sign for it', async ({ onTestFinished }) => {
  const node = await openNode(onTestFinished)
  const { keys } = node.publishing
  const [a, b] = [
    await keys.generate('a', { context: contextOf(), signal }),
    await keys.generate('b', { context: contextOf(), signal }),
  ]
  const sealed = (await node.names.keys.get('b', signal))?.sealed
  await keys.remove('a', { signal })
  await node.names.keys.add({ ...a, sealed: sealed ?? '' }, signal)
  await expect(keys.signer('a', { signal })).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  expect((await keys.signer('b', { signal })).name).toBe(b.name)
})

test('a key that was removed is left alone; one that cannot be opened is told of', async ({ onTestFinished }) => {
  const node = await openNode(onTestFinished)
  await node.publishing.keys.generate('removed', { context: contextOf(), signal })
  await node.publishing.keys.generate('kept', { context: contextOf(), signal })
  await put(node, 'site', 'one')
  await publish(node, 'site', 'removed')
  const { entry } = await publish(node, 'site', 'kept')
  await node.publishing.keys.remove('removed', { signal })
  await node.publishing.close()
  await put(node, 'site', 'two')
  const failures: unknown[] = []
  const { domain } = node
  await openNode(onTestFinished, {
    domain,
    projector: false,
    secret: 'another secret altogether',
    sweepMs: 30,
    failures,
  })
  await vi.waitFor(() => expect(failures.length).toBeGreaterThan(1), waiting)
  for (const failure of failures) expect(failure).toMatchObject({ message: expect.stringContaining('kept') })
  expect((await node.verbs.getIpns(entry?.name ?? '', { signal })).revision).toBe(entry?.revision)
})

test('what cannot be published is refused', async ({ onTestFinished }) => {
  const node = await openNode(onTestFinished)
  await node.publishing.keys.generate('site', { context: contextOf(), signal })
  const { revision } = (await put(node, 'site', 'one')).name ?? { revision: 0 }
  await expect(publish(node, 'nothing', 'site')).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
  await expect(publish(node, 'site', 'nobody')).rejects.toMatchObject({ code: 'NAME_NOT_FOUND' })
  await expect(publish(node, `site@${revision}`, 'site')).rejects.toMatchObject({ code: 'NAME_INVALID' })
  await expect(publish(node, 'site', 'site', { lifetimeSeconds: 1 })).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  await expect(publish(node, 'site', 'site', { ttlSeconds: 7200 })).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
})

test('an id of a command makes one key: again it is the same one, and for anything else it is refused', async ({
  onTestFinished,
}) => {
  const node = await openNode(onTestFinished)
  const { keys } = node.publishing
  const taken = { code: 'COMMAND_ID_TAKEN' }
  const id = uuidv7()
  const generate = (label: string, context = contextOf(id)) => keys.generate(label, { context, signal })
  const [one, other] = await Promise.all([generate('a'), generate('a')])
  expect([one.repeated, other.repeated].sort()).toEqual([false, true])
  expect({ ...one, repeated: true }).toEqual({ ...other, repeated: true })
  expect(await generate('a')).toEqual({ ...one, repeated: true })
  await expect(generate('b')).rejects.toMatchObject(taken)
  await expect(generate('a', { ...contextOf(id), owner: 'bob' })).rejects.toMatchObject(taken)
  const pem = await keys.export('a', { signal })
  await expect(keys.import('a', pem, { context: contextOf(id), signal })).rejects.toMatchObject(taken)
  await expect(generate('a', contextOf())).rejects.toMatchObject({ code: 'REVISION_CONFLICT' })
  // Of a command in the log.
  const put = contextOf()
  await node.verbs.put(put, fileOf('content'), { signal })
  await node.projector?.waitCaughtUp(5_000, signal)
  await expect(generate('c', put)).rejects.toMatchObject(taken)
  expect((await keys.list({ signal })).map(({ label }) => label)).toEqual(['a'])
})
