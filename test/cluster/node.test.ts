import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { type Cluster, startCluster } from '../support/cluster.ts'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { httpOf, type NodeHttp } from '../support/node-http.ts'

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster()
})
afterAll(() => cluster.stop())

const startNode = (url: string): Promise<FullNode> =>
  startFullNode(onTestFinished, { nats: { url }, env: { STOWAGE_REPLICAS: '3' } })

interface Load {
  /** Names whose put was acknowledged, and what they hold. */
  readonly acked: ReadonlyMap<string, Buffer>
  /** Answers that must not be: what was acknowledged and is not found, lost or something else. */
  readonly wrong: readonly string[]
  /** Waits until so many puts that began after now are acknowledged. */
  progress(puts: number): Promise<void>
  stop(): Promise<void>
}

/** Puts and gets without a pause, some of them of several blocks; who is told to try again does so. */
function startLoad(http: NodeHttp, clients = 4): Load {
  const acked = new Map<string, Buffer>()
  const wrong: string[] = []
  let next = 0
  let stopped = false
  const put = async () => {
    const name = `load/${next++}`
    const content = randomBytes(next % 5 === 0 ? 300_000 : 2_000)
    const id = crypto.randomUUID()
    while (!stopped) {
      const { status, text } = await http.put(name, content, { 'stowage-command-id': id })
      if (status === 201 || status === 200) {
        acked.set(name, content)
        return
      }
      if (status !== 503) wrong.push(`PUT ${name} ${status} ${text}`)
      await delay(20)
    }
  }
  const get = async () => {
    const names = [...acked.keys()]
    const name = names[Math.floor(Math.random() * names.length)]
    if (name === undefined) return
    const { status, bytes, text } = await http.gateway(`/names/${name}`)
    if (status === 503) return
    if (status !== 200) wrong.push(`GET ${name} ${status} ${text}`)
    else if (Buffer.compare(bytes, acked.get(name) ?? Buffer.alloc(0)) !== 0) wrong.push(`GET ${name}: other bytes`)
  }
  const client = async () => {
    while (!stopped) {
      await put()
      await get()
    }
  }
  const running = Promise.all(Array.from({ length: clients }, client))
  return {
    acked,
    wrong,
    progress: async (puts) => {
      const from = next
      const isNew = (name: string) => Number(name.slice('load/'.length)) >= from
      const endMs = performance.now() + 60_000
      while ([...acked.keys()].filter(isNew).length < puts) {
        if (performance.now() > endMs) throw new Error(`writes do not go on; ${wrong.slice(0, 3)}`)
        await delay(20)
      }
    },
    stop: async () => {
      stopped = true
      await running
    },
  }
}

/** The names that were set, as the event log has them, oldest first. */
async function namesSet(http: NodeHttp): Promise<string[]> {
  const { text } = await http.api('/events?entity=name&verb=set', { headers: { accept: 'application/x-ndjson' } })
  const lines = text.split('\n').filter((line) => line !== '')
  return lines.map((line) => (JSON.parse(line) as { event: { subject: string } }).event.subject)
}

test('every stream has three replicas; the leader of a shard and that of the log may be killed: nothing acknowledged is lost, and writes go on', async () => {
  const http = httpOf(await startNode(cluster.url))
  const connection = await connect({ servers: cluster.url.split(',') })
  onTestFinished(() => connection.close())
  const manager = await jetstreamManager(connection)
  for (const name of await cluster.streams()) {
    expect([name, (await manager.streams.info(name)).config.num_replicas]).toEqual([name, 3])
  }
  const load = startLoad(http)
  await load.progress(20)
  for (const stream of ['OBJ_stowage-main-local-a-0', 'stowage_events']) {
    const leader = await cluster.leaderOf(stream)
    await leader?.kill()
    await load.progress(20)
    await leader?.start()
    await cluster.settled()
  }
  await load.progress(20)
  await load.stop()
  expect(load.wrong).toEqual([])
  for (const [name, content] of load.acked) {
    const { status, bytes } = await http.gateway(`/names/${name}`)
    expect([name, status, Buffer.compare(bytes, content)]).toEqual([name, 200, 0])
  }
  // One event for each, however often it was sent.
  const logged = (await namesSet(http)).filter((name) => load.acked.has(name))
  expect(logged.sort()).toEqual([...load.acked.keys()].sort())
})

test('two nodes at two servers set one name with compare-and-set: one winner a revision, and both see it', async () => {
  const [first, second] = cluster.servers
  const nodes = [httpOf(await startNode(first?.url ?? '')), httpOf(await startNode(second?.url ?? ''))] as const
  const made = await nodes[0].put('shared', 'first')
  expect(made.status).toBe(201)
  let revision = Number(made.json?.revision)
  for (let round = 0; round < 10; round++) {
    const headers = { 'if-match': `"${revision}"` }
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => (i % 2 === 0 ? nodes[0] : nodes[1]).put('shared', `${round} ${i}`, headers)),
    )
    const won = answers.flatMap(({ status }, i) => (status < 300 ? [i] : []))
    expect(won).toHaveLength(1)
    expect(answers.filter(({ status }) => status === 412)).toHaveLength(7)
    for (const { gateway } of nodes) expect((await gateway('/names/shared')).text).toBe(`${round} ${won[0]}`)
    revision = Number(answers[won[0] ?? 0]?.json?.revision)
  }
  expect((await namesSet(nodes[1])).filter((name) => name === 'shared')).toHaveLength(11)
})
