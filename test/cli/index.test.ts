import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { expect, type TestContext, test } from 'vitest'
import { nameKey } from '../../src/names/name.ts'
import { type NodeCli, openNodeCli } from '../support/full-node.ts'

const bucket = 'stowage_names'
const subject = (name: string) => `$KV.${bucket}.main.${nameKey(name)}`

/** What somebody does who writes to the bucket past the node. */
async function openBehind(node: NodeCli, onTestFinished: TestContext['onTestFinished']) {
  const nats = await connect({ servers: node.nats.url })
  onTestFinished(() => nats.close())
  const manager = await jetstreamManager(nats)
  return {
    write: (name: string, value: object) => jetstream(nats).publish(subject(name), JSON.stringify(value)),
    remove: (name: string) => manager.streams.purge(`KV_${bucket}`, { filter: subject(name) }),
  }
}

/** Three names, of which one is then changed behind the node, one deleted, and a fourth invented. */
async function openUnsound(onTestFinished: TestContext['onTestFinished']) {
  const node = await openNodeCli(onTestFinished)
  for (const name of ['docs/a.txt', 'docs/b.txt', 'docs/c.txt']) {
    await node.run(['add', '-q', '--name', name, '-'], { stdin: name })
  }
  expect((await node.run(['index', 'verify'])).exitCode).toBe(0)
  const behind = await openBehind(node, onTestFinished)
  const far = {
    cid: 'bafkqaaa',
    mediaType: null,
    owner: 'x',
    revision: 1_000_000,
    size: 0,
    time: '2026-01-01T00:00:00Z',
  }
  await behind.write('docs/a.txt', { ...far, name: 'docs/a.txt' })
  await behind.remove('docs/b.txt')
  await behind.write('invented', { ...far, name: 'invented' })
  return node
}

const found = ['different  names    docs.a=2Etxt', 'extra      names    invented', 'missing    names    docs.b=2Etxt']

test('index verify tells each key that was changed, deleted or invented past the node, ends with 1 and repairs nothing', async ({
  onTestFinished,
}) => {
  const { run } = await openUnsound(onTestFinished)
  for (let time = 0; time < 2; time++) {
    const { exitCode, stdout, stderr } = await run(['index', 'verify'])
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: '' })
    const lines = stdout.trimEnd().split('\n')
    expect(lines.slice(0, -1).sort()).toEqual(found)
    expect(lines.at(-1)).toBe('3 differences; repair them with `stowage index verify --repair`')
  }
  const json = JSON.parse((await run(['index', 'verify', '--json'])).stdout) as object
  expect(json).toMatchObject({ ok: false, differences: 3, repaired: false, skipped: 0 })
  expect((await run(['cat', 'docs/c.txt'])).stdout).toBe('docs/c.txt')
})

test('index verify --repair brings each of them to what the log says, and then the index is sound', async ({
  onTestFinished,
}) => {
  const { run } = await openUnsound(onTestFinished)
  const { exitCode, stdout, stderr } = await run(['index', 'verify', '--repair'])
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
  const lines = stdout.trimEnd().split('\n')
  expect(lines.slice(0, -1).sort()).toEqual(found)
  expect(lines.at(-1)).toBe('3 differences; repaired')
  expect(await run(['index', 'verify'])).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^the index is what the log says: 6 keys, \d+ events\n$/),
  })
  for (const name of ['docs/a.txt', 'docs/b.txt', 'docs/c.txt']) {
    expect((await run(['cat', name])).stdout).toBe(name)
  }
  expect((await run(['name', 'get', 'invented'])).exitCode).toBe(3)
})
