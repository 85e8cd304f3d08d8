import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Link, openLink } from './link.ts'
import { startTestNats, type TestNats, type TestNatsOptions } from './nats.ts'
import { freePorts } from './ports.ts'

/** One server of a cluster. Its ports and its data outlive its process. */
export interface ClusterServer {
  readonly name: string
  readonly url: string
  /** Where its files lie. */
  readonly dataDir: string
  /** It has a process that is neither paused nor cut off. */
  readonly running: boolean
  /** SIGKILL, if nothing else is said. The data stay. */
  kill(signal?: NodeJS.Signals): Promise<void>
  /** After `kill`, with its data; does not wait until it has caught up (`settled` does). */
  start(): Promise<void>
  /** SIGSTOP: it holds its connections and its leadership, and says nothing. */
  pause(): void
  /** SIGCONT. */
  resume(): void
  /** Cuts it off from the other servers; its clients still reach it. Needs `linked`. */
  isolate(): void
  /** Mends what `isolate` cut. */
  rejoin(): void
}

export interface Cluster {
  readonly servers: readonly ClusterServer[]
  /** Of all servers, for STOWAGE_NATS_URL. */
  readonly url: string
  /** Waits until the servers that run know a leader and have caught up, in the cluster and in every stream that exists. */
  settled(): Promise<void>
  /** Whom a stream's replicas follow now; undefined while they elect. @throws when no running server has the stream */
  leaderOf(stream: string): Promise<ClusterServer | undefined>
  /** Names of the streams that exist. */
  streams(): Promise<string[]>
  /** Ends all servers and removes their data. */
  stop(): Promise<void>
}

export interface ClusterOptions extends Pick<TestNatsOptions, 'maxPayload' | 'syncAlways' | 'extraConfig' | 'binary'> {
  /** Default 3. */
  readonly size?: number
  /** Routes go through links in this process, which can be cut: see `isolate`. */
  readonly linked?: boolean
}

/** How long `settled` waits: elections take 4 to 9 s each in nats-server, and may follow each other. */
const settledMsMax = 60_000

/** A real nats-server cluster with JetStream on 127.0.0.1, settled. Give `stop` to `onTestFinished` or `afterAll`. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const size = options.size ?? 3
  const folder = await mkdtemp(join(tmpdir(), 'stowage-cluster-'))
  const ports = await freePorts(size * portsEach)
  const links = options.linked === true ? await openLinks(size, ports) : []
  const members = Array.from({ length: size }, (_, i) => new Member(i, size, ports, folder, links, options))
  const stop = async () => {
    await Promise.all(members.map((member) => member.kill()))
    for (const { link } of links) await link.close()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  const cluster: Cluster = {
    servers: members,
    url: members.map(({ url }) => url).join(','),
    settled: () => settled(members),
    leaderOf: async (stream) => {
      const leaders = (await Promise.all(running(members).map((member) => member.streams()))).flatMap((streams) => {
        const found = streams.find(({ name }) => name === stream)
        return found === undefined ? [] : [found.leader]
      })
      if (leaders.length === 0) throw new Error(`no server has a stream ${stream}`)
      return members.find(({ name }) => leaders.includes(name))
    },
    streams: async () => {
      const all = await Promise.all(running(members).map((member) => member.streams()))
      return [...new Set(all.flat().map(({ name }) => name))].sort()
    },
    stop,
  }
  try {
    await Promise.all(members.map((member) => member.start()))
    await cluster.settled()
    return cluster
  } catch (error) {
    await stop()
    throw error
  }
}

/** For clients, routes and monitoring, and one on which nobody listens. */
const portsEach = 4

interface RouteLink {
  readonly from: number
  readonly to: number
  readonly link: Link
}

/** One from each server to each other. */
async function openLinks(size: number, ports: readonly number[]): Promise<RouteLink[]> {
  const indexes = Array.from({ length: size }, (_, i) => i)
  const pairs = indexes.flatMap((from) => indexes.filter((to) => to !== from).map((to) => ({ from, to })))
  return Promise.all(pairs.map(async (pair) => ({ ...pair, link: await openLink(ports[size + pair.to] ?? 0) })))
}

interface StreamState {
  readonly name: string
  readonly leader: string | undefined
}

class Member implements ClusterServer {
  readonly name: string
  readonly url: string
  readonly dataDir: string
  readonly #size: number
  readonly #monitorUrl: string
  readonly #options: TestNatsOptions
  readonly #links: readonly Link[]
  #nats: TestNats | undefined
  #paused = false
  #isolated = false

  constructor(
    index: number,
    size: number,
    ports: readonly number[],
    folder: string,
    links: readonly RouteLink[],
    options: ClusterOptions,
  ) {
    const port = (of: number, kind: number) => ports[kind * size + of] ?? 0
    const dial = (to: number) => links.find((one) => one.from === index && one.to === to)?.link.port ?? port(to, 1)
    const routes = Array.from({ length: size }, (_, to) => JSON.stringify(`nats-route://127.0.0.1:${dial(to)}`))
    this.name = `n${index + 1}`
    this.url = `nats://127.0.0.1:${port(index, 0)}`
    this.dataDir = join(folder, this.name)
    this.#size = size
    this.#monitorUrl = `http://127.0.0.1:${port(index, 2)}`
    this.#links = links.filter(({ from, to }) => from === index || to === index).map(({ link }) => link)
    this.#options = {
      ...options,
      dataDir: this.dataDir,
      port: port(index, 0),
      extraConfig: [
        `server_name: ${this.name}`,
        `http: "127.0.0.1:${port(index, 2)}"`,
        'cluster {',
        '  name: test',
        `  listen: "127.0.0.1:${port(index, 1)}"`,
        // Else servers tell each other where they really listen, and go round a link that was cut. One connection for all: of
        // several one may be back before the others, and the servers count as joined.
        ...(links.length === 0 ? [] : [`  advertise: "127.0.0.1:${port(index, 3)}"`, '  pool_size: -1']),
        `  routes: [${routes.join(', ')}]`,
        '}',
        options.extraConfig ?? '',
      ].join('\n'),
    }
  }

  get running(): boolean {
    return this.#nats !== undefined && !this.#paused && !this.#isolated
  }

  async start(): Promise<void> {
    this.#nats ??= await startTestNats(this.#options)
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const nats = this.#nats
    this.#nats = undefined
    this.#paused = false
    await nats?.kill(signal)
  }

  pause(): void {
    this.#signal('SIGSTOP')
    this.#paused = true
  }

  resume(): void {
    this.#signal('SIGCONT')
    this.#paused = false
  }

  isolate(): void {
    if (this.#links.length === 0) throw new Error('startCluster has to be called with linked: true')
    for (const link of this.#links) link.cut()
    this.#isolated = true
  }

  rejoin(): void {
    for (const link of this.#links) link.mend()
    this.#isolated = false
  }

  /** The streams that it has a replica of, and whom it follows there. */
  async streams(): Promise<StreamState[]> {
    const { account_details: accounts } = (await this.#monitor('/jsz?streams=1')) as Jsz
    return (accounts ?? []).flatMap(({ stream_detail: streams }) =>
      (streams ?? []).map(({ name, cluster }) => ({ name, leader: cluster?.leader || undefined })),
    )
  }

  /** It follows one of `alive` in the cluster and in all its streams, has caught up, and, as the leader, hears them all. */
  async isSettled(alive: readonly string[]): Promise<boolean> {
    const health = await fetch(`${this.#monitorUrl}/healthz`).catch(() => undefined)
    if (health?.status !== 200) return false
    const { meta_cluster: meta } = (await this.#monitor('/jsz')) as Jsz
    if (meta?.cluster_size !== this.#size || !alive.includes(meta.leader ?? '')) return false
    const { routes } = (await this.#monitor('/routez')) as Routez
    const near = new Set(routes.map(({ remote_name: name }) => name))
    if (alive.some((name) => name !== this.name && !near.has(name))) return false
    const heard = (meta.replicas ?? []).filter(({ current, offline }) => current && offline !== true)
    if (meta.leader === this.name && heard.length < alive.length - 1) return false
    // One that was killed is followed until the others notice.
    return (await this.streams()).every(({ leader }) => alive.includes(leader ?? ''))
  }

  async #monitor(path: string): Promise<unknown> {
    return (await fetch(`${this.#monitorUrl}${path}`)).json()
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#nats === undefined) throw new Error(`${this.name} does not run`)
    process.kill(this.#nats.pid, signal)
  }
}

/** What is used here of a server's reports. */
interface Routez {
  readonly routes: readonly { readonly remote_name: string }[]
}

interface Jsz {
  readonly meta_cluster?: {
    readonly leader?: string
    readonly cluster_size: number
    readonly replicas?: readonly { readonly current: boolean; readonly offline?: boolean }[]
  }
  readonly account_details?: readonly {
    readonly stream_detail?: readonly { readonly name: string; readonly cluster?: { readonly leader?: string } }[]
  }[]
}

const running = (members: readonly Member[]) => members.filter((member) => member.running)

async function settled(members: readonly Member[]): Promise<void> {
  const endMs = performance.now() + settledMsMax
  for (;;) {
    const those = running(members)
    const alive = those.map(({ name }) => name)
    const all = await Promise.all(those.map((member) => member.isSettled(alive).catch(() => false)))
    if (all.every(Boolean)) return
    if (performance.now() > endMs) {
      throw new Error(`not settled: ${those.filter((_, i) => all[i] !== true).map(({ name }) => name)}`)
    }
    await delay(50)
  }
}
