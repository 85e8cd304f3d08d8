import { setTimeout as delay } from 'node:timers/promises'
import { hashBlock } from '../src/blocks/block.ts'
import { MiB } from '../src/lib/units.ts'
import type { Inventory, RootFacts } from '../src/placement/model.ts'
import { Planner } from '../src/placement/plan.ts'
import { compilePolicy, parsePolicy } from '../src/placement/policy.ts'
import { freePorts } from '../test/support/ports.ts'
import type { Bench } from './harness/bench.ts'
import { type Stowage, startStowage } from './harness/stowage.ts'

const rootsPlanned = 1_000_000
const announcements = 200
const waitMs = 600_000
const rawCodec = 0x55

/**
 * How long until the policy holds? Planning alone; a large file that has to lie at two sites, from its put to its second
 * verified copy; and how soon a put at one site is in the log of the other one. The sites are two nodes with a nats-server each, hub
 * and leaf, on this machine.
 */
export async function placement(bench: Bench): Promise<void> {
  await bench.measure(
    `plan ${rootsPlanned.toLocaleString('en')} objects over 5 sites and 10 stores`,
    'objects/s of CPU, their facts included',
    [{ label: 'two rules, one asks for the media type', ours: true, run: async () => planAll() }],
  )
  const [hub, leaf] = await startSites(bench)
  await setPolicy(hub, 1)
  const latencies = await announce(hub, leaf)
  const ms = (share: number) => (latencies[Math.floor((latencies.length - 1) * share)] ?? 0).toFixed(1)
  console.log(
    `put at the hub until its event is in the log of the leaf: p50 ${ms(0.5)}, p99 ${ms(0.99)} ms (${latencies.length} puts)\n`,
  )
  await setPolicy(hub, 2)
  await bench.measure(`${Math.round(bench.sizeBytes / MiB)} MiB at the hub, until verified at both sites`, 'MiB/s', [
    {
      label: 'from the reply to the put, copied and read back',
      ours: true,
      run: () => timeToSatisfied(hub, bench.sizeBytes),
    },
  ])
}

function planAll(): number {
  const sites = Array.from({ length: 5 }, (_, i) => ({
    ...{ site: `s${i}`, jetstreamDomain: `s${i}`, labels: { zone: `z${i}` }, state: 'active' as const, up: true },
  }))
  const stores = sites.flatMap(({ site }) =>
    ['a', 'b'].map((store) => ({
      ...{ site, store, shards: 4, replicas: 1, zones: [], createdAt: '', state: 'active' as const },
      ...{ primary: store === 'a', freeBytes: undefined, usedBytes: 0 },
    })),
  )
  const inventory: Inventory = { sites, stores }
  const policy = parsePolicy({
    version: 1,
    rules: [
      { name: 'pictures', when: { '==': [{ var: 'mediaType' }, 'image/png'] }, copies: 3 },
      { name: 'all', copies: { min: 2, max: 3 }, spread: 'zone' },
    ],
  })
  const planner = new Planner(compilePolicy(policy), inventory, { nowMs: Date.now() })
  const context = { names: [], demand: {}, projectedAt: [] }
  let steps = 0
  const before = process.cpuUsage()
  for (let i = 0; i < rootsPlanned; i++) steps += planner.plan(factsOf(i), context).steps.length
  const { user, system } = process.cpuUsage(before)
  if (steps < rootsPlanned) throw new Error('there was less to plan than there should be')
  return rootsPlanned / ((user + system) / 1e6)
}

/** Written out: to spread parts together would cost more than to plan it. */
function factsOf(i: number): RootFacts {
  return {
    root: `bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55${i}`,
    bytes: 1000,
    blocks: 1,
    originSite: 's0',
    owner: 'bench',
    mediaType: i % 2 === 0 ? 'image/png' : null,
    addedAt: '2026-11-21T10:00:00Z',
    deleted: false,
    said: {},
    copies: [{ site: 's0', store: 'a', state: 'verified', verifiedAt: '2026-11-21T10:00:00Z', eventId: 'e' }],
    told: undefined,
    lost: false,
    revision: 1,
    copyRevision: 0,
    correlation: 'c',
    lastEventId: 'e',
  }
}

async function startSites(bench: Bench): Promise<readonly [Stowage, Stowage]> {
  const [port = 0] = await freePorts(1)
  const at = (site: string) => ({
    STOWAGE_SITE: site,
    STOWAGE_SITE_LABELS: `zone=${site}`,
    STOWAGE_COPY_BYTES_PER_SECOND: '64GiB',
  })
  const hub = await startStowage(bench, { ...at('hub'), STOWAGE_LEAF_LISTEN: `127.0.0.1:${port}` })
  const leaf = await startStowage(bench, { ...at('leaf'), STOWAGE_LEAF_REMOTE: `nats-leaf://127.0.0.1:${port}` })
  for (const node of [hub, leaf]) {
    await until(async () => {
      const { sites } = (await json(node, 'sites')) as { readonly sites: readonly { readonly up: boolean }[] }
      return sites.filter(({ up }) => up).length === 2
    })
  }
  return [hub, leaf]
}

async function setPolicy(stowage: Stowage, copies: number): Promise<void> {
  const { apiUrl, token } = stowage.node()
  const body = JSON.stringify({ version: 1, rules: [{ name: 'all', copies }] })
  const response = await fetch(`${apiUrl}/api/v1/policies/main`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${token}` },
    body,
  })
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
}

/** Milliseconds from before each put at one node until its event comes from the other one; ascending. */
async function announce(hub: Stowage, leaf: Stowage): Promise<readonly number[]> {
  const { apiUrl, token } = leaf.node()
  const stop = new AbortController()
  const response = await fetch(`${apiUrl}/api/v1/events?entity=object&verb=added&since=now&follow=true`, {
    headers: { authorization: `Bearer ${token}`, accept: 'application/x-ndjson' },
    signal: stop.signal,
  })
  const sentMs = new Map<string, number>()
  const latencies: number[] = []
  const heard = (async () => {
    for await (const line of linesOf(response)) {
      const { event } = JSON.parse(line) as { readonly event?: { readonly subject?: string } }
      const cid = event?.subject ?? ''
      const sent = sentMs.get(cid)
      if (sent === undefined) continue
      latencies.push(performance.now() - sent)
      if (latencies.length >= announcements) return
    }
  })()
  for (let i = 0; i < announcements; i++) await putSmall(hub, `announced ${i} ${performance.now()}`, sentMs)
  await Promise.race([heard, delay(waitMs, undefined, { ref: false })])
  stop.abort()
  return latencies.sort((a, b) => a - b)
}

async function* linesOf(response: Response): AsyncGenerator<string> {
  if (response.body === null) return
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    yield* lines.filter((line) => line !== '')
  }
}

/** The CID is known before, so that the event cannot come before somebody waits for it. */
async function putSmall(stowage: Stowage, text: string, sentMs: Map<string, number>): Promise<void> {
  sentMs.set(hashBlock(Buffer.from(text), rawCodec).cid.toString(), performance.now())
  const { apiUrl, token } = stowage.node()
  const response = await fetch(`${apiUrl}/api/v1/objects`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
    body: text,
  })
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
  await response.arrayBuffer()
}

async function timeToSatisfied(hub: Stowage, sizeBytes: number): Promise<number> {
  const { cid } = await hub.add(sizeBytes, 'application/octet-stream')
  const started = performance.now()
  await until(async () => {
    const { verified, failureDomains } = (await json(hub, `status/${cid}`)) as Record<string, number>
    return verified === 2 && failureDomains === 2
  })
  return sizeBytes / MiB / ((performance.now() - started) / 1000)
}

async function json(stowage: Stowage, path: string): Promise<unknown> {
  const response = await fetch(`${stowage.node().apiUrl}/api/v1/${path}`)
  return response.ok ? await response.json() : { sites: [] }
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + waitMs
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error('waited in vain')
    await delay(50)
  }
}
