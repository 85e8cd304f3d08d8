import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { type Link, openLink } from './link.ts'
import { startTestNats, type TestNats, type TestNatsOptions } from './nats.ts'
import { freePorts } from './ports.ts'

/** A site: one nats-server with a JetStream of its own; others reach it as `$JS.<name>.API.>`. */
export interface Site {
  /** Also the JetStream domain. */
  readonly name: string
  readonly url: string
  /** SIGKILL. The data stay. */
  kill(): Promise<void>
  /** After `kill`, with its data and on its port. */
  start(): Promise<void>
}

export interface LeafSite extends Site {
  /** Its uplink to the hub, and what has gone over it. */
  readonly link: Pick<Link, 'bytes' | 'refused' | 'stall'>
  /** Cuts the uplink and waits until neither side hears the other. */
  cut(): Promise<void>
  /** Mends it and waits until each side answers the other. */
  mend(): Promise<void>
  /** Waits until hub and leaf answer each other. */
  connected(): Promise<void>
}

export interface Sites {
  readonly hub: Site
  /** In the order of their names as given. */
  readonly leaves: readonly LeafSite[]
  /** By its name. @throws for an unknown one */
  leaf(name: string): LeafSite
  stop(): Promise<void>
}

const waitMsMax = 30_000

/**
 * A hub and its leaf sites as real nats-servers on 127.0.0.1, each with its own JetStream domain, joined through links that
 * can be cut. All connected when it returns. Give `stop` to `onTestFinished` or `afterAll`.
 */
export async function startSites(
  names: readonly string[] = ['paris', 'berlin'],
  hubName = 'hub',
  options: Pick<TestNatsOptions, 'binary'> = {},
): Promise<Sites> {
  const folder = await mkdtemp(join(tmpdir(), 'stowage-sites-'))
  const closers: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true, maxRetries: 5 })]
  const stop = async () => {
    for (const close of closers.splice(0).reverse()) await close()
  }
  const open = async (name: string, extraConfig: string, port: number): Promise<Site> => {
    const site = new Server(name, { ...options, dataDir: join(folder, name), domain: name, port, extraConfig })
    closers.push(() => site.kill())
    await site.start()
    return site
  }
  try {
    const [leafPort = 0, hubPort = 0, ...ports] = await freePorts(names.length + 2)
    // Else the hub tells its leaves where it really listens, and they go round a link that was cut.
    const uplinks = `leafnodes { listen: "127.0.0.1:${leafPort}", no_advertise: true }`
    const hub = await open(hubName, uplinks, hubPort)
    const leaves = await Promise.all(
      names.map(async (name, i): Promise<LeafSite> => {
        const link = await openLink(leafPort)
        closers.push(() => link.close())
        // `reconnect` is in seconds; the compression of larger setups would only hide what crosses the link.
        const remote = `leafnodes { reconnect: 1, compression: off, remotes: [{ url: "nats-leaf://127.0.0.1:${link.port}" }] }`
        const site = await open(name, remote, ports[i] ?? 0)
        return joined(hub, site, link)
      }),
    )
    await Promise.all(leaves.map((leaf) => leaf.connected()))
    const leaf = (name: string): LeafSite => {
      const found = leaves.find((one) => one.name === name)
      if (found === undefined) throw new Error(`no site ${name}`)
      return found
    }
    return { hub, leaves, leaf, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

class Server implements Site {
  readonly name: string
  readonly url: string
  readonly #options: TestNatsOptions
  #nats: TestNats | undefined

  constructor(name: string, options: TestNatsOptions & { readonly port: number }) {
    this.name = name
    this.url = `nats://127.0.0.1:${options.port}`
    this.#options = { ...options, extraConfig: `server_name: ${name}\n${options.extraConfig ?? ''}` }
  }

  async start(): Promise<void> {
    this.#nats ??= await startTestNats(this.#options)
  }

  async kill(): Promise<void> {
    const nats = this.#nats
    this.#nats = undefined
    await nats?.kill('SIGKILL')
  }
}

function joined(hub: Site, site: Site, link: Link): LeafSite {
  const connected = () =>
    until(hub, site, `${hub.name} and ${site.name} answer each other`, (one) => one.every(Boolean))
  return {
    name: site.name,
    url: site.url,
    kill: () => site.kill(),
    start: () => site.start(),
    link,
    connected,
    cut: async () => {
      link.cut()
      await until(hub, site, `${hub.name} and ${site.name} are apart`, (one) => !one.some(Boolean))
    },
    mend: async () => {
      link.mend()
      await connected()
    },
  }
}

/** Each asks for the other's JetStream, which is reached over the link alone. */
async function until(
  hub: Site,
  leaf: Site,
  what: string,
  isSo: (answers: readonly boolean[]) => boolean,
): Promise<void> {
  const pairs = [
    [hub, leaf],
    [leaf, hub],
  ] as const
  const connections: NatsConnection[] = []
  try {
    for (const [from] of pairs) connections.push(await connect({ servers: from.url, maxReconnectAttempts: -1 }))
    const endMs = performance.now() + waitMsMax
    for (;;) {
      const answers = await Promise.all(
        pairs.map(
          ([, to], i) =>
            connections[i]?.request(`$JS.${to.name}.API.INFO`, '', { timeout: 500 }).then(
              () => true,
              () => false,
            ) ?? false,
        ),
      )
      if (isSo(answers)) return
      if (performance.now() > endMs) throw new Error(`waited in vain until ${what}`)
      await delay(20)
    }
  } finally {
    for (const connection of connections) await connection.close()
  }
}
