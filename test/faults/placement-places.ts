import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startCluster } from '../support/cluster.ts'
import { startNodeProcess } from '../support/node-process.ts'
import { startSites } from '../support/sites.ts'
import type { Fault, FaultyNode } from './placement-run.ts'

export interface Places {
  readonly nodes: readonly FaultyNode[]
  readonly faults: readonly Fault[]
  readonly replicas: number
  stop(): Promise<void>
}

const knownMsMax = 60_000
export const token = 'stw_token_of_a_run_of_faults'

/** Three sites, a hub and two leaves, with a node each. */
export async function threeSites(natsServer: string): Promise<Places> {
  const sites = await startSites(['paris', 'berlin'], 'hub', { binary: natsServer })
  const all = [sites.hub, ...sites.leaves]
  const nodes = await Promise.all(all.map(({ name, url }) => startFaulty(name, url, natsServer, {})))
  const killed = all.map(({ name, kill, start }): Fault => {
    const site = all.find((one) => one.name === name)
    return { name: `server of ${name}`, strike: () => site?.kill() ?? kill(), mend: () => site?.start() ?? start() }
  })
  return placesOf(nodes, killed, 1, () => sites.stop())
}

/** One site over a cluster of three servers, with two nodes. */
export async function oneCluster(natsServer: string): Promise<Places> {
  const cluster = await startCluster({ binary: natsServer })
  const settings = { STOWAGE_REPLICAS: '3' }
  const nodes: Faulty[] = []
  for (let i = 0; i < 2; i++) nodes.push(await startFaulty('local', cluster.url, natsServer, settings))
  const killed = cluster.servers.map((server): Fault => {
    // One at a time: a majority stays.
    const mend = async () => {
      await server.start()
      await cluster.settled()
    }
    return { name: `server ${server.name}`, strike: () => server.kill(), mend }
  })
  return placesOf(nodes, killed, 3, () => cluster.stop())
}

interface Faulty extends FaultyNode {
  /** SIGKILL, and the folder is removed. */
  end(): Promise<void>
}

async function startFaulty(
  site: string,
  natsUrl: string,
  natsServer: string,
  settings: Readonly<Record<string, string>>,
): Promise<Faulty> {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-faulty-'))
  const env = {
    STOWAGE_NATS_URL: natsUrl,
    STOWAGE_SITE: site,
    STOWAGE_SHARDS: '2',
    STOWAGE_TOKEN: token,
    STOWAGE_LOG: 'warn',
    // A server that is killed is to be a site that is down, at times.
    STOWAGE_SITE_DOWN_SECONDS: '3',
    ...settings,
  }
  const faulty: Faulty = {
    ...{ site, natsUrl, node: undefined },
    start: () => startNodeProcess({ dataDir, natsServer, env }),
    end: async () => {
      await faulty.node?.end('SIGKILL')
      faulty.node = undefined
      await rm(dataDir, { recursive: true, force: true, maxRetries: 5 })
    },
  }
  faulty.node = await faulty.start()
  return faulty
}

function placesOf(
  nodes: readonly Faulty[],
  servers: readonly Fault[],
  replicas: number,
  stop: () => Promise<void>,
): Places {
  const killed = nodes.map(
    (faulty): Fault => ({
      name: `node of ${faulty.site}`,
      strike: async () => {
        const { node } = faulty
        faulty.node = undefined
        await node?.end('SIGKILL')
      },
      mend: async () => {
        faulty.node ??= await faulty.start()
      },
    }),
  )
  return {
    ...{ nodes, replicas },
    faults: [...servers, ...killed],
    stop: async () => {
      for (const node of nodes) await node.end()
      await stop()
    },
  }
}

/** So many copies of everything, spread over the stores; all nodes know it then. */
export async function setPolicy({ nodes }: Places, copies: number): Promise<void> {
  const reply = await policyAt(nodes[0], {
    method: 'PUT',
    body: JSON.stringify({ version: 1, rules: [{ name: 'some', copies, spread: 'store' }] }),
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
  })
  if (!reply.ok) throw new Error(`${reply.status} ${await reply.text()}`)
  // A site that goes by no policy yet takes away what is more than one copy.
  for (const node of nodes) {
    const endMs = performance.now() + knownMsMax
    while (!(await policyAt(node, {})).ok) {
      if (performance.now() > endMs) throw new Error(`the policy does not come to ${node.site}`)
      await delay(100)
    }
  }
}

const policyAt = (node: FaultyNode | undefined, init: RequestInit): Promise<Response> =>
  fetch(`${node?.node?.apiUrl}/api/v1/policies/main`, init)
