import { cp, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from '@nats-io/transport-node'
import { queueSubject } from '../../src/comms/protocol.ts'
import { type NodeProcess, startNodeProcess } from '../support/node-process.ts'

/** Every stream of a node that is not blocks, by what is behind it. */
export const damagedStreams = [
  'stowage_events',
  'KV_stowage_names',
  'KV_stowage_refs',
  'KV_stowage_deleted',
  'KV_stowage_ipns',
  'KV_stowage_outcomes',
  'KV_stowage_policy',
  'KV_stowage_placement',
  'KV_stowage_tokens',
  'KV_stowage_keys',
  'stowage_queue',
  'stowage_moves',
  'stowage_dead',
  'stowage_reads',
] as const

export interface Damage {
  readonly stream: string
  /** So is the event log, which loses its end. */
  readonly withLog?: boolean
  readonly kind: 'flip' | 'cut' | 'delete'
  /** The server's index of the stream is there; without it, as after a kill, it reads the messages themselves. */
  readonly index: boolean
}

/**
 * harmless: all is as it was. mended: it was told, and all is as it was. refused: it was told, and nothing is written or started.
 * silent: something is wrong, and nobody says so.
 */
export type Outcome = 'harmless' | 'mended' | 'told' | 'refused' | 'silent'

export interface DamageResult extends Damage {
  readonly outcome: Outcome
  readonly detail: string
}

const names = 12
const settleMs = 40_000
/** What cannot be made anew is read slowly, beside everything else. */
const toldMs = 10_000
const text = (i: number) => `content ${i}`

interface Laid {
  readonly folder: string
  readonly deleted: string
  readonly kept: string
  /** What `facts` came to. */
  readonly facts: Readonly<Record<string, string>>
}

/** A data folder of a node that was stopped, with something in each of its streams. */
export async function layFolder(natsServer: string): Promise<Laid> {
  const folder = await mkdtemp(join(tmpdir(), 'stowage-damage-'))
  const node = await startNodeProcess({ dataDir: folder, natsServer })
  const api = apiOf(node)
  for (let i = 0; i < names; i++) await api('PUT', `names/n${i}`, `old ${i}`)
  for (let i = 0; i < names; i++) await api('PUT', `names/n${i}`, text(i))
  const put = async (body: string) => ((await (await api('POST', 'objects', body)).json()) as { cid: string }).cid
  const [deleted, kept] = [await put('to be deleted'), await put('to be kept')]
  await api('DELETE', `objects/${deleted}`)
  await fetch(`${node.gatewayUrl}/ipfs/${kept}`)
  await layOthers(node)
  await waitFor(async () => (await statusOf(node)).audits >= 1, 'the first audit')
  // The marks of what was folded, and what was seen of the streams, are written a moment behind.
  await delay(2_500)
  const facts = await factsOf(node)
  for (const [path, fact] of Object.entries(facts)) if (!fact.startsWith('200 ')) throw new Error(`${path}: ${fact}`)
  await node.end('SIGTERM')
  return { folder, deleted, kept, facts }
}

/** A key with a record, a DNSLink, a policy, and a command that becomes a dead letter. */
async function layOthers(node: NodeProcess): Promise<void> {
  const json = async (method: string, path: string, body: unknown) => {
    const reply = await fetch(`${node.apiUrl}/api/v1/${path}`, {
      method,
      headers: { authorization: `Bearer ${node.token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (!reply.ok) throw new Error(`${method} ${path} is ${reply.status} ${await reply.text()}`)
  }
  await json('POST', 'keys', { label: 'site' })
  await json('POST', 'ipns', { publish: { name: 'n0', key: 'site' } })
  await json('PUT', 'policies/main', { version: 1, rules: [{ name: 'all', copies: 1 }] })
  const natsUrl = /NATS +(\S+)/.exec(node.output())?.[1] ?? ''
  const connection = await connect({ servers: natsUrl })
  await connection.request(queueSubject({ domain: 'stowage', space: 'main' }, 'name'), '{"name":')
  await connection.close()
  const isDead = async () =>
    (await (await apiOf(node)('GET', 'events?entity=message&follow=false')).text()).includes('message.dead')
  await waitFor(isDead, 'a dead letter')
}

/** What the node says of what is beside names and content. The revision of what is folded stays as it is. */
async function factsOf(node: NodeProcess): Promise<Record<string, string>> {
  const facts: Record<string, string> = {}
  for (const path of ['keys', 'ipns', 'policies/main']) {
    const reply = await apiOf(node)('GET', path)
    facts[path] = `${reply.status} ${await reply.text()}`
  }
  return facts
}

/** In the file of messages: a share of its length, or in the last message that has this text. */
export type Place = number | string

/** Damages a copy of the folder, starts a node on it and looks at what it says and does. */
export async function damageOne(laid: Laid, damage: Damage, natsServer: string, place: Place): Promise<DamageResult> {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-damage-'))
  try {
    await cp(laid.folder, dataDir, {
      recursive: true,
      filter: (path) => !/node\.json$|\.lock$|nats-server\.pid$/.test(path),
    })
    if (!(await harm(dataDir, damage, place)))
      return { ...damage, outcome: 'harmless', detail: 'there is nothing to damage' }
    const log = { stream: 'stowage_events', kind: 'flip', index: false } as const
    if (damage.withLog === true && !(await harm(dataDir, log, 'object.deleted.')))
      throw new Error('the log cannot be damaged')
    return { ...damage, ...(await judge(laid, dataDir, natsServer)) }
  } finally {
    await rm(dataDir, { recursive: true, force: true, maxRetries: 10 })
  }
}

/** @returns false when there is no such file */
async function harm(dataDir: string, { stream, kind, index }: Damage, place: Place): Promise<boolean> {
  const folder = join(dataDir, 'jetstream', '$G', 'streams', stream)
  const files = await readdir(join(folder, 'msgs')).catch(() => undefined)
  if (files === undefined) return false
  if (kind === 'delete') {
    await rm(folder, { recursive: true })
    return true
  }
  if (!index) await rm(join(folder, 'msgs', 'index.db'), { force: true })
  const [block] = files.filter((name) => name.endsWith('.blk')).sort()
  if (block === undefined) return false
  const file = join(folder, 'msgs', block)
  const bytes = await readFile(file)
  if (bytes.byteLength === 0) return false
  const at = typeof place === 'number' ? Math.floor(place * bytes.byteLength) : bytes.lastIndexOf(place)
  if (at < 0) throw new Error(`no message of ${stream} has ${place}`)
  if (kind === 'cut') await truncate(file, at)
  else {
    bytes.writeUInt8(bytes.readUInt8(at) ^ 4, at)
    await writeFile(file, bytes)
  }
  return true
}

async function judge(laid: Laid, dataDir: string, natsServer: string): Promise<{ outcome: Outcome; detail: string }> {
  let node: NodeProcess
  try {
    node = await startNodeProcess({ dataDir, natsServer, readyMsMax: settleMs })
  } catch (error) {
    const said = /stowage: .*/.exec(String(error))?.[0]
    return said === undefined
      ? { outcome: 'silent', detail: `it does not start: ${String(error).slice(-300)}` }
      : { outcome: 'refused', detail: said.slice(0, 200) }
  }
  try {
    // Before anything is mended: what was deleted is never served.
    const early = (await fetch(`${node.gatewayUrl}/ipfs/${laid.deleted}`, { redirect: 'manual' })).status
    if (early < 400) return { outcome: 'silent', detail: `what was deleted is served: ${early}` }
    await waitFor(async () => {
      const { audits, fault, mending } = await statusOf(node)
      return fault !== null || (audits >= 1 && mending.length === 0)
    }, 'an audit').catch(() => undefined)
    const { fault } = await statusOf(node)
    const found = await differences(node, laid)
    await waitFor(async () => toldBy(node).length > 0, 'a word of it', toldMs).catch(() => undefined)
    const told = toldBy(node)
    // Keys lie nowhere else: what is lost of them is told.
    const isToldOf = (one: string) =>
      one.startsWith('keys is ') && told.some((line) => line.includes('_keys is damaged'))
    const wrong = found.filter((one) => !isToldOf(one))
    const detail = [...found, ...told.map((line) => String((JSON.parse(line) as { msg: string }).msg))]
      .join('; ')
      .slice(0, 300)
    if (fault !== null) {
      const ready = (await fetch(`${node.apiUrl}/readyz`)).status
      const write = (await apiOf(node)('PUT', 'names/after', 'x')).status
      // What is not known is not answered.
      const isRight = wrong.every((one) => one.startsWith('verify') || one.includes(' is 503'))
      const isRefused = ready === 503 && write === 503 && told.length > 0 && isRight
      return { outcome: isRefused ? 'refused' : 'silent', detail: `${ready} ${write} ${detail}` }
    }
    const write = (await apiOf(node)('PUT', 'names/after', 'x')).status
    if (wrong.length > 0 || write >= 300) return { outcome: 'silent', detail: `${write} ${detail}` }
    if (told.length === 0) return { outcome: 'harmless', detail }
    return { outcome: told.some((line) => line.includes('"level":50')) ? 'told' : 'mended', detail }
  } finally {
    await node.end('SIGTERM')
  }
}

/** What the log says of damage. */
const toldBy = (node: NodeProcess): string[] =>
  node
    .output()
    .split('\n')
    .filter((line) => /"level":[45]0/.test(line) && line.includes('"part":"log"'))

/** What a client is told that is not so. */
async function differences(node: NodeProcess, { deleted, kept, facts }: Laid): Promise<string[]> {
  const wrong: string[] = []
  const api = apiOf(node)
  for (let i = 0; i < names; i++) {
    const reply = await fetch(`${node.gatewayUrl}/names/n${i}`)
    const body = await reply.text()
    if (body !== text(i)) wrong.push(`n${i} is ${reply.status} ${body.slice(0, 20)}`)
  }
  const listing = await api('GET', 'names')
  const listed = (await listing.json()) as { readonly names?: readonly unknown[] }
  if (listed.names?.length !== names) wrong.push(`the list is ${listing.status}, of ${listed.names?.length} names`)
  for (const [path, fact] of Object.entries(await factsOf(node))) {
    if (fact !== facts[path]) wrong.push(`${path} is ${fact}`)
  }
  for (const [cid, status] of [
    [deleted, 410],
    [kept, 200],
  ] as const) {
    const found = (await fetch(`${node.gatewayUrl}/ipfs/${cid}`)).status
    if (found !== status) wrong.push(`${cid} is ${found}, not ${status}`)
  }
  const verified = (await (await api('POST', 'index/verify')).json()) as { readonly ok?: boolean }
  if (verified.ok !== true) wrong.push(`verify ${JSON.stringify(verified).slice(0, 120)}`)
  return wrong
}

const apiOf = (node: NodeProcess) => (method: string, path: string, body?: string) =>
  fetch(`${node.apiUrl}/api/v1/${path}`, {
    method,
    headers: { authorization: `Bearer ${node.token}`, ...(body === undefined ? {} : { 'content-type': 'text/plain' }) },
    ...(body === undefined ? {} : { body }),
  })

interface LogStatus {
  readonly audits: number
  readonly fault: string | null
  readonly mending: readonly string[]
}

async function statusOf(node: NodeProcess): Promise<LogStatus> {
  const reply = await fetch(`${node.apiUrl}/api/v1/status`)
  return ((await reply.json()) as { log: LogStatus }).log
}

async function waitFor(isSo: () => Promise<boolean>, what: string, waitMs = settleMs): Promise<void> {
  const endMs = performance.now() + waitMs
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`${what} does not come`)
    await delay(100)
  }
}

/** All damages, each at a place that the seed tells. */
export async function damageRounds(options: {
  readonly seed: number
  readonly endMs: number
  readonly natsServer: string
  readonly log: (line: string) => void
}): Promise<boolean> {
  const { seed, endMs, natsServer, log } = options
  const laid = await layFolder(natsServer)
  const sums: Record<string, number> = {}
  let place = seed
  try {
    for (let isDone = false; !isDone && Date.now() < endMs; isDone = true) {
      for (const stream of damagedStreams) {
        for (const kind of ['flip', 'cut', 'delete'] as const) {
          for (const index of kind === 'delete' ? [true] : [true, false]) {
            if (Date.now() > endMs) continue
            place = (place * 1_103_515_245 + 12_345) % 2_147_483_648
            const at = place / 2_147_483_648
            const { outcome, detail } = await damageOne(laid, { stream, kind, index }, natsServer, at)
            sums[outcome] = (sums[outcome] ?? 0) + 1
            log(
              `${outcome.padEnd(8)} ${stream} ${kind} at ${at.toFixed(3)}${index ? '' : ' without index.db'}: ${detail}`,
            )
          }
        }
      }
    }
  } finally {
    await rm(laid.folder, { recursive: true, force: true, maxRetries: 10 })
  }
  log(JSON.stringify(sums))
  return (sums.silent ?? 0) === 0
}
