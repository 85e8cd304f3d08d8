import { expect, type TestContext, test } from 'vitest'
import { run, testFolder } from '../support/cli.ts'
import { copies, type Fields, type PlacedNode, startPlacedNode } from '../support/placed.ts'
import { waitForEvents } from '../support/placement-node.ts'
import { startSites } from '../support/sites.ts'

/** nats-server asks for the log of a site that was away at longer and longer intervals. */
const sourcedMs = 120_000
const waiting = { timeout: 60_000, interval: 100 }
const neverPut = 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'
const content = (text: string): Buffer => Buffer.from(`${text} `.repeat(20_000))

type Name = 'hub' | 'paris' | 'berlin'

interface Domain {
  readonly nodes: Readonly<Record<Name, PlacedNode>>
  /** Ends the node and the server of paris at once, as a fire would. */
  lose(): Promise<void>
  /** Paris is there again, with all that it had. */
  back(): Promise<PlacedNode>
  /** Another node of the hub in place of the one that was closed. */
  hubAgain(): Promise<PlacedNode>
  /** `stowage <argv>` at the hub. */
  stowage(...argv: readonly string[]): ReturnType<typeof run>
}

async function openDomain(onFinished: TestContext['onTestFinished']): Promise<Domain> {
  const sites = await startSites(['paris', 'berlin'])
  onFinished(() => sites.stop())
  const start = (site: Name, url: string) =>
    startPlacedNode(onFinished, { STOWAGE_SITE: site, STOWAGE_SITE_DOWN_SECONDS: '4' }, { nats: { url } })
  const nodes = {
    hub: await start('hub', sites.hub.url),
    paris: await start('paris', sites.leaf('paris').url),
    berlin: await start('berlin', sites.leaf('berlin').url),
  }
  for (const node of Object.values(nodes)) await expect.poll(() => upAt(node), waiting).toBe('berlin hub paris')
  const folder = await testFolder(onFinished)
  return {
    nodes,
    lose: async () => {
      await sites.leaf('paris').kill()
      await nodes.paris.close()
      await expect.poll(() => upAt(nodes.hub), waiting).toBe('berlin hub')
      await expect.poll(() => upAt(nodes.berlin), waiting).toBe('berlin hub')
    },
    back: async () => {
      await sites.leaf('paris').start()
      return start('paris', sites.leaf('paris').url)
    },
    hubAgain: () => start('hub', sites.hub.url),
    stowage: (...argv) => run(folder, argv, { env: nodes.hub.env }),
  }
}

/** Sites that a node hears. */
async function upAt({ call }: PlacedNode): Promise<string> {
  const sites = (await call('GET', 'sites')).json.sites as readonly { readonly site: string; readonly up: boolean }[]
  return sites.flatMap(({ site, up }) => (up ? [site] : [])).join(' ')
}

interface Copy {
  readonly site: string
  readonly state: string
  readonly reachable: boolean
  readonly events: readonly Told[]
}

interface Told {
  readonly type: string
  /** That wrote it. */
  readonly site: string
}

const copiesIn = (why: Fields) => why.copies as readonly Copy[]
const eventsIn = (why: Fields) => why.events as readonly Told[]
const sitesOf = (why: Fields): string =>
  copiesIn(why)
    .flatMap(({ site, state, reachable }) => (state === 'verified' && reachable ? [site] : []))
    .join(' ')

const settledOn = (sites: string) => (why: Fields) =>
  sitesOf(why) === sites && why.satisfied === true && copiesIn(why).every(({ state }) => state === 'verified')

interface CopyEvent {
  readonly type: string
  readonly owner: string
  readonly data: { readonly action?: string }
}

const isRemoval = ({ type, data }: CopyEvent) => type.includes('copy.requested') && data.action === 'remove'

async function read({ node }: PlacedNode, cid: string): Promise<Buffer | string> {
  const reply = await fetch(`${node.gatewayUrl}/ipfs/${cid}`)
  const bytes = Buffer.from(await reply.arrayBuffer())
  return reply.ok ? bytes : `${reply.status} ${bytes.toString('utf8')}`
}

test('a site that burned down is removed: its copies count no more, others come, another site is steward, what lay there alone is lost and called so', async ({
  onTestFinished,
}) => {
  const domain = await openDomain(onTestFinished)
  const { hub, paris, berlin } = domain.nodes
  await hub.call('PUT', 'policies/main', {
    version: 1,
    rules: [
      { name: 'small', when: { '<': [{ var: 'size' }, 1000] }, copies: 1 },
      { name: 'all', copies: 2, sites: ['paris', 'hub', 'berlin'] },
    ],
  })
  await expect.poll(async () => (await paris.call('GET', 'policies/main')).status, waiting).toBe(200)
  const shared = content('shared')
  const cid = await paris.put(shared, 'shared.txt')
  const alone = await paris.put('alone')
  await hub.untilWhy(cid, (why) => why.satisfied === true && sitesOf(why).split(' ').length === 2)
  await hub.untilWhy(alone, settledOn('paris'))

  expect(await hub.call('POST', 'sites/paris/remove')).toMatchObject({ status: 409, json: { code: 'place_in_use' } })
  await domain.lose()
  // While nobody has said that it is gone it may come back.
  await expect.poll(async () => String(await read(hub, alone)), waiting).toMatch(/^503/)
  await hub.untilWhy(cid, (why) => sitesOf(why) === 'berlin hub')

  const refused = await hub.call('POST', 'sites/paris/remove')
  expect(refused).toMatchObject({ status: 409, json: { code: 'place_in_use', hint: expect.stringContaining('force') } })
  const removed = await domain.stowage('site', 'remove', 'paris', '--force')
  expect(removed).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('1 objects lay there alone') })
  expect((await hub.call('POST', 'sites/paris/remove')).status).toBe(404)

  for (const node of [hub, berlin]) {
    const why = await node.untilWhy(cid, settledOn('berlin hub'))
    expect(why).toMatchObject({ verified: 2, satisfied: true, degraded: false, lost: false, provisional: false })
    expect(copiesIn(why).find(({ site }) => site === 'paris')?.reachable).not.toBe(true)
    expect(await read(node, cid)).toEqual(shared)
    expect((await node.call('GET', 'names/shared.txt')).json.cid).toBe(cid)
  }
  const sites = (await berlin.call('GET', 'sites')).json.sites as readonly Fields[]
  expect(sites.find(({ site }) => site === 'paris')).toMatchObject({ state: 'removed', up: false })

  const lost = await hub.untilWhy(alone, (why) => why.lost === true)
  expect(lost).toMatchObject({ satisfied: false, verified: 0, confidence: 0, unmet: ['no verified copy is in reach'] })
  expect(copiesIn(lost)).toMatchObject([{ site: 'paris', reachable: false }])
  expect(eventsIn(lost).filter(({ type }) => type === 'object.lost')).toHaveLength(1)
  expect((await berlin.call('GET', `status/${alone}`)).json).toMatchObject({ lost: true, satisfied: false })
  for (const node of [hub, berlin])
    expect(await read(node, alone)).toMatch(/^500 .* was stored, and no whole copy of it is left/)
  expect(await read(hub, neverPut)).toMatch(/^404/)
  expect([...hub.errors, ...berlin.errors].filter((line) => line.includes('no whole copy is left'))).toHaveLength(1)

  // The first by name that has a copy decides now; while paris was only silent nobody did.
  await hub.call('PUT', 'policies/main', copies(1))
  const asked = await waitForEvents<CopyEvent>(hub, cid, (events) => events.some(isRemoval))
  expect(asked.filter(isRemoval).map(({ owner }) => owner)).toEqual(['node:berlin'])
  await hub.untilWhy(cid, (why) => sitesOf(why).split(' ').length === 1 && why.satisfied === true)
}, 180_000)

test('a removed site that comes back stays removed: it is read, what only it has is copied away, and so is what it takes', async ({
  onTestFinished,
}) => {
  const domain = await openDomain(onTestFinished)
  const { hub, paris, berlin } = domain.nodes
  const kept = content('kept')
  const cid = await paris.put(kept)
  await hub.untilWhy(cid, settledOn('paris'))
  await domain.lose()
  expect((await domain.stowage('site', 'remove', 'paris', '--force')).exitCode).toBe(0)
  await hub.untilWhy(cid, (why) => why.lost === true)
  await hub.call('PUT', 'policies/main', copies(2))

  const again = await domain.back()
  for (const node of [hub, berlin]) await expect.poll(() => read(node, cid), waiting).toEqual(kept)
  const why = await hub.untilWhy(cid, (now) => settledOn('berlin hub')(now) && now.lost === false, sourcedMs)
  expect(copiesIn(why).flatMap(({ events }) => events.map(({ type }) => type))).toContain('object.restored')

  const late = await again.put(content('late'))
  await berlin.untilWhy(late, settledOn('berlin hub'), sourcedMs)
  await again.untilWhy(late, settledOn('berlin hub'), sourcedMs)
  for (const node of [hub, again]) {
    const sites = (await node.call('GET', 'sites')).json.sites as readonly Fields[]
    expect(sites.find(({ site }) => site === 'paris')).toMatchObject({ state: 'removed', up: true })
  }
}, 400_000)

test('a node that has just started removes no site that it had no time to hear', async ({ onTestFinished }) => {
  const domain = await openDomain(onTestFinished)
  await domain.nodes.hub.close()
  const fresh = await domain.hubAgain()
  const early = await fresh.call('POST', 'sites/berlin/remove?force=true')
  expect([409, 503]).toContain(early.status)
  await expect.poll(() => upAt(fresh), waiting).toBe('berlin hub paris')
  expect((await fresh.call('POST', 'sites/berlin/remove?force=true')).status).toBe(409)
}, 120_000)
