import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { expect, test, vi } from 'vitest'
import { type CloudEvent, decodeEvent } from '../../src/events/envelope.ts'
import { fakeNode, run, testFolder } from '../support/cli.ts'
import { openNodeCli } from '../support/full-node.ts'

const waiting = { timeout: 15_000, interval: 20 }

/** The reads so far, in the order of the log. */
async function readsIn(connection: NatsConnection): Promise<CloudEvent[]> {
  const manager = await jetstreamManager(connection)
  const { state } = await manager.streams.info('stowage_reads')
  const events: CloudEvent[] = []
  for (let seq = 1; seq <= state.last_seq; seq++) {
    const event = decodeEvent((await manager.streams.getMessage('stowage_reads', { seq }))?.data ?? new Uint8Array())
    if (event !== undefined) events.push(event)
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
  expect((await cli.run(['stat', 'docs/a b.txt'])).exitCode).toBe(0)
  expect((await cli.run(['ls', 'trees/sub dir'])).stdout).toContain('ü %41.txt')
  expect(await (await fetch(`${cli.node.gatewayUrl}/names/docs/a%20b.txt`)).text()).toBe('content')
  expect((await connection.request('stowage.qry.main.get', 'docs/a b.txt')).string()).toBe('content')

  const revisionOf = async (name: string) => {
    const response = await fetch(`${cli.node.apiUrl}/api/v1/names/${encodeURIComponent(name)}`)
    return ((await response.json()) as { revision: number }).revision
  }
  const file = `docs/a%20b.txt%40${await revisionOf('docs/a b.txt')}`
  const tree = `trees%40${await revisionOf('trees')}`
  const deep = `${tree}/sub%20dir/%C3%BC%20%2541.txt`
  const content = [
    ['docs/a b.txt', 'unixfs', `/names/${file}`],
    ['trees', 'unixfs', `/names/${deep}`],
    ['trees', 'unixfs', `/names/${deep}`],
    ['trees', 'car', `/names/${tree}`],
    ['docs/a b.txt', 'unixfs', '/names/docs/a%20b.txt'],
    ['docs/a b.txt', 'unixfs', '/names/docs/a b.txt'],
  ]
  const told = async () =>
    (await readsIn(connection)).map(({ data }) => [data.name, String(data.format), String(data.path)])
  const isContent = ([, format]: readonly unknown[]) => format !== 'stat' && format !== 'entries'
  await vi.waitFor(async () => expect((await told()).filter(isContent)).toHaveLength(content.length), waiting)
  expect((await told()).filter(isContent)).toEqual(content)
  // Of what the command line asks beside them, too, none is without its name.
  const beside = (await told()).filter((read) => !isContent(read))
  expect(beside).toContainEqual(['docs/a b.txt', 'stat', `/names/${file}`])
  expect(beside).toContainEqual(['trees', 'entries', `/names/${tree}/sub%20dir`])
  expect(beside.filter(([name]) => name === null)).toEqual([])
})

test('a name is recorded only where it stands for what is asked for', async ({ onTestFinished }) => {
  const cli = await openNodeCli(onTestFinished)
  const connection = await connect({ servers: cli.nats.url })
  onTestFinished(() => connection.close())
  const added = async (text: string) =>
    (await cli.run(['add', '-q', '--name', text, '-'], { stdin: text })).stdout.trim()
  const [one] = [await added('one'), await added('two')]
  const statuses: number[] = []
  for (const name of ['two', 'three', '..', 'one@1']) {
    const response = await fetch(`${cli.node.apiUrl}/api/v1/objects/${one}?name=${name}`)
    statuses.push(response.status)
  }
  expect(statuses).toEqual([404, 404, 400, 404])
  await vi.waitFor(async () => expect(await readsIn(connection)).toHaveLength(statuses.length), waiting)
  expect((await readsIn(connection)).map(({ data }) => [data.name, data.path])).toEqual(
    statuses.map(() => [null, `/ipfs/${one}`]),
  )
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
