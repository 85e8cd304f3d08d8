import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { expect, test, vi } from 'vitest'
import { type CloudEvent, decodeEvent } from '../../src/events/envelope.ts'
import { fakeNode, run, testFolder } from '../support/cli.ts'
import { openNodeCli } from '../support/full-node.ts'

const waiting = { timeout: 15_000, interval: 20 }

/** The reads of content so far; what is asked of a node beside it is left out. */
async function readsIn(connection: NatsConnection): Promise<CloudEvent[]> {
  const manager = await jetstreamManager(connection)
  const { state } = await manager.streams.info('stowage_reads')
  const events: CloudEvent[] = []
  for (let seq = 1; seq <= state.last_seq; seq++) {
    const event = decodeEvent((await manager.streams.getMessage('stowage_reads', { seq }))?.data ?? new Uint8Array())
    if (event !== undefined && event.data.format !== 'stat' && event.data.format !== 'entries') events.push(event)
  }
  return events
}

test('what is read by a name has the name in the read log, over the command line, HTTP and NATS', async ({
  onTestFinished,
}) => {
  const cli = await openNodeCli(onTestFinished)
  const connection = await connect({ servers: cli.nats.url })
  onTestFinished(() => connection.close())
  await mkdir(join(cli.folder, 'tree', 'sub dir'), { recursive: true })
  await writeFile(join(cli.folder, 'tree', 'sub dir', 'ü %41.txt'), 'deep')
  await writeFile(join(cli.folder, 'a.txt'), 'content')
  expect((await cli.run(['add', '-q', '--name', 'docs/a b.txt', 'a.txt'])).exitCode).toBe(0)
  expect((await cli.run(['add', '-q', '-r', '--name', 'trees', 'tree'])).exitCode).toBe(0)

  expect((await cli.run(['cat', 'docs/a b.txt'])).stdout).toBe('content')
  expect((await cli.run(['get', 'trees', '-o', 'back'])).stderr).toBe('')
  expect(await readFile(join(cli.folder, 'back', 'sub dir', 'ü %41.txt'), 'utf8')).toBe('deep')
  expect((await cli.run(['cat', 'trees/sub dir/ü %41.txt'])).stdout).toBe('deep')
  expect((await cli.run(['car', 'export', 'trees', '-o', 'trees.car'])).exitCode).toBe(0)
  expect(await (await fetch(`${cli.node.gatewayUrl}/names/docs/a%20b.txt`)).text()).toBe('content')
  expect((await connection.request('stowage.qry.main.get', 'docs/a b.txt')).string()).toBe('content')

  await vi.waitFor(async () => expect(await readsIn(connection)).toHaveLength(6), waiting)
  const told = (await readsIn(connection)).map(({ data }) => [data.name, data.format, String(data.path)])
  expect(told).toEqual([
    ['docs/a b.txt', 'unixfs', '/names/docs/a%20b.txt%402'],
    ['trees', 'unixfs', '/names/trees%404/sub%20dir/%C3%BC%20%2541.txt'],
    ['trees', 'unixfs', '/names/trees%404/sub%20dir/%C3%BC%20%2541.txt'],
    ['trees', 'car', '/names/trees%404'],
    ['docs/a b.txt', 'unixfs', '/names/docs/a%20b.txt'],
    ['docs/a b.txt', 'unixfs', '/names/docs/a b.txt'],
  ])
})

test('a gateway that leads a name elsewhere is not believed', async ({ onTestFinished }) => {
  const cid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
  const folder = await testFolder(onTestFinished)
  const roots: string[] = ['bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku', '', cid]
  const url = await fakeNode(onTestFinished, (request, response) => {
    const path = request.url ?? ''
    if (path.startsWith('/api/v1/names/')) {
      return response.end(
        JSON.stringify({ name: 'docs/a', cid, revision: 7, size: 4, owner: 'ann', time: '', mediaType: '' }),
      )
    }
    if (path.startsWith('/api/')) {
      return response.end(JSON.stringify({ cid, kind: 'file', codec: 'raw', size: 4, links: 0, blockBytes: 4 }))
    }
    const root = roots.shift()
    if (root !== '') response.setHeader('x-ipfs-roots', String(root))
    return response.end(path === '/names/docs/a%407' ? 'good' : 'evil')
  })
  const env = { STOWAGE_API_URL: url, STOWAGE_GATEWAY_URL: url }
  for (let i = 0; i < 2; i++) {
    const refused = await run(folder, ['cat', 'docs/a'], { env })
    expect(refused.exitCode).toBe(1)
    expect(refused.stdout).toBe('')
    expect(refused.stderr).toContain(`docs/a@7 is ${cid} to the API`)
  }
  expect((await run(folder, ['cat', 'docs/a'], { env })).stdout).toBe('good')
})
