import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { type NodeProcess, program } from '../support/node-process.ts'
import { freePorts } from '../support/ports.ts'
import { startServing } from '../support/serving.ts'

/** The hub and the leaves of docker-compose.sites.yml, as processes with the same settings. */
const names = ['hub', 'paris', 'boston'] as const
type Name = (typeof names)[number]

const labels: Readonly<Record<Name, string>> = {
  hub: 'region=eu,zone=a,role=hub',
  paris: 'region=eu,zone=b',
  boston: 'region=us,zone=c',
}
const waiting = { timeout: 90_000, interval: 250 }
const ending: (() => unknown)[] = []
const onEnd: TestContext['onTestFinished'] = (close) => void ending.push(close as () => unknown)
const run = promisify(execFile)

let folder: string
let leafPort: number
let nodes: Readonly<Record<Name, NodeProcess>>

function start(name: Name): Promise<NodeProcess> {
  const env = {
    STOWAGE_SITE: name,
    STOWAGE_SITE_LABELS: labels[name],
    STOWAGE_SITE_DOWN_SECONDS: '5',
    ...(name === 'hub'
      ? { STOWAGE_LEAF_LISTEN: `hub:secret@127.0.0.1:${leafPort}` }
      : { STOWAGE_LEAF_REMOTE: `nats-leaf://hub:secret@127.0.0.1:${leafPort}` }),
  }
  return startServing(onEnd, { dataDir: join(folder, name), env })
}

/** `stowage <argv>` before the node of a site, as in `docker compose exec <site> stowage …`. */
async function stowage(name: Name, ...argv: readonly string[]): Promise<string> {
  const env = { PATH: process.env.PATH, HOME: folder, STOWAGE_DATA: nodes[name].dataDir }
  const { stdout } = await run(process.execPath, [program, ...argv], { env, cwd: folder })
  return stdout
}

const json = async (name: Name, ...argv: readonly string[]) =>
  JSON.parse(await stowage(name, ...argv, '--json')) as Readonly<Record<string, unknown>>

/** SHA-256 of what a site's gateway serves, or the status that it answers with. */
async function read(name: Name, cid: string): Promise<string | number> {
  const reply = await fetch(`${nodes[name].gatewayUrl}/ipfs/${cid}`)
  const bytes = Buffer.from(await reply.arrayBuffer())
  return reply.ok ? digestOf(bytes) : reply.status
}

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Adds content at a site and gives its CID. */
async function add(name: Name, bytes: Uint8Array): Promise<string> {
  const file = join(folder, `${randomBytes(4).toString('hex')}.bin`)
  await writeFile(file, bytes)
  return String((await json(name, 'add', file)).cid)
}

/** Verified copies of a root, as one site knows them. */
async function copiesOf(name: Name, cid: string): Promise<readonly string[]> {
  const { apiUrl } = nodes[name]
  const reply = await fetch(`${apiUrl}/api/v1/status/${cid}`)
  if (!reply.ok) return [`status ${reply.status}`]
  const { copies } = (await reply.json()) as {
    readonly copies: readonly { site: string; store: string; state: string }[]
  }
  return copies.flatMap(({ site, store, state }) => (state === 'verified' ? [`${site}/${store}`] : [])).sort()
}

/** All sites know that each of them has a copy. While one is away another one may have had two; the surplus goes. */
const isEverywhere = (cid: string) =>
  expect
    .poll(async () => {
      const known = await Promise.all(names.map((name) => copiesOf(name, cid)))
      return known.map((copies) => copies.map((at) => at.split('/')[0]))
    }, waiting)
    .toEqual(names.map(() => ['boston', 'hub', 'paris']))

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stowage-three-'))
  ;[leafPort = 0] = await freePorts(1)
  const hub = await start('hub')
  const [paris, boston] = await Promise.all([start('paris'), start('boston')])
  nodes = { hub, paris, boston }
}, 120_000)

afterAll(async () => {
  for (const close of ending.reverse()) await close()
  await rm(folder, { recursive: true, force: true, maxRetries: 5 })
}, 60_000)

test('three processes find each other, and content that is put at a leaf is read and kept at all sites', async () => {
  await expect.poll(() => stowage('boston', 'site', 'ls'), waiting).toMatch(/boston[\s\S]*hub[\s\S]*paris/)
  await writeFile(join(folder, 'policy.json'), '{"version":1,"rules":[{"name":"all","copies":3}]}')
  expect(await stowage('hub', 'policy', 'set', 'policy.json')).toContain('the policy is set')
  const bytes = randomBytes(3_000_000)
  const cid = await add('paris', bytes)
  for (const name of names) await expect.poll(() => read(name, cid), waiting).toBe(digestOf(bytes))
  await isEverywhere(cid)
  expect(await stowage('hub', 'placement')).toMatch(/boston +a[^\n]*\nhub +a[^\n]*\nparis +a[^\n]*\n\n1 root,/)
  await expect
    .poll(() => stowage('hub', 'missing'), waiting)
    .toContain('0 roots are not known here; 0 copies are wanted')
}, 180_000)

test('a site whose process is killed is missed by nobody, and has everything when it is back', async () => {
  const before = randomBytes(500_000)
  const kept = await add('hub', before)
  await isEverywhere(kept)
  expect(await nodes.boston.end('SIGKILL')).toBe('SIGKILL')
  const bytes = randomBytes(1_000_000)
  const cid = await add('paris', bytes)
  expect(await read('hub', cid)).toBe(digestOf(bytes))
  await expect
    .poll(async () => (await copiesOf('hub', cid)).filter((at) => !at.startsWith('boston')).length, waiting)
    .toBeGreaterThan(1)
  nodes = { ...nodes, boston: await start('boston') }
  await expect.poll(() => read('boston', cid), waiting).toBe(digestOf(bytes))
  await isEverywhere(cid)
  expect(await read('boston', kept)).toBe(digestOf(before))
  await expect
    .poll(() => stowage('boston', 'missing'), waiting)
    .toContain('0 roots are not known here; 0 copies are wanted')
}, 240_000)

test('the picture of three sites has a box for each, and nothing in it runs', async () => {
  const reply = await fetch(`${nodes.hub.apiUrl}/api/v1/placement.svg`)
  expect(Object.fromEntries(reply.headers)).toMatchObject({
    'content-type': 'image/svg+xml; charset=utf-8',
    'content-security-policy': "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    'x-content-type-options': 'nosniff',
  })
  const picture = await reply.text()
  for (const name of names) expect(picture).toContain(`>${name}<`)
  expect(picture.match(/<rect class="site"/g)).toHaveLength(3)
  expect(await stowage('paris', 'placement', '--svg', 'placement.svg')).toContain('placement.svg')
})
