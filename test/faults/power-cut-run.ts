import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { type NodeProcess, startNodeProcess } from '../support/node-process.ts'
import { PowerCutDisk } from '../support/power-cut-disk.ts'
import { randomOf } from '../support/random.ts'
import { contentOf, serverPid, sha256 } from './kill-run.ts'

/**
 * Puts, names and keys while the power of the disk is cut at random moments. The ledger lies here, outside of the disk: what was
 * acknowledged must be there on the disk that comes back, and the node must start on it with the token and secret that it had.
 */
export interface PowerCutOptions {
  readonly natsServer: string
  readonly seed: number
  /** Ends after so many cuts, or at `untilMs` (as Date.now tells time). */
  readonly cutsMax: number
  readonly untilMs?: number
  /** `late`: a nats-server of its own that acknowledges before it syncs, as it does by default. For the control. */
  readonly sync: 'always' | 'late'
  readonly log?: (line: string) => void
}

export interface PowerCutResult {
  cuts: number
  acked: number
  /** Acknowledged and not there, or not as it was: must be empty, all of them. */
  readonly lost: string[]
  readonly wrong: string[]
  /** Files beside JetStream that are gone or changed. */
  readonly files: string[]
  /** What a node printed that did not start on the disk. */
  readonly notStarted: string[]
}

/** Cuts on one disk, one after the other; then there is a new one, since the first seconds of a data folder are the worst. */
const cutsPerDisk = 3
const writers = 4
const namesPerWriter = 5
const bytesMax = 200_000
/** Without anything acknowledged a cut shows nothing. */
const firstAckMsMax = 60_000

export async function powerCutRun(options: PowerCutOptions): Promise<PowerCutResult> {
  const result: PowerCutResult = { cuts: 0, acked: 0, lost: [], wrong: [], files: [], notStarted: [] }
  const more = () => result.cuts < options.cutsMax && Date.now() < (options.untilMs ?? Number.POSITIVE_INFINITY)
  for (let number = 0; more(); number++) {
    const disk = await PowerCutDisk.make()
    const machine = new Machine(disk, options, randomOf(options.seed * 1_000 + number), result)
    try {
      await machine.start()
      for (let cut = 0; cut < cutsPerDisk && more(); cut++) {
        if (!(await machine.cutOnce(cut === 0))) break
        options.log?.(`cut ${result.cuts}: ${JSON.stringify(result)}`)
      }
    } finally {
      await machine.stop()
      await disk.remove()
    }
  }
  return result
}

/** Content that was put, and what is known of it. */
interface Put {
  readonly bytes: number
  readonly seed: number
  readonly cid: string
}

/** A node, its nats-server and the disk below them, with the ledger of what was acknowledged. */
class Machine {
  readonly #disk: PowerCutDisk
  readonly #options: PowerCutOptions
  readonly #random: () => number
  readonly #result: PowerCutResult
  readonly #puts: Put[] = []
  /** By name: what it may stand for, the last one acknowledged first. */
  readonly #names = new Map<string, string[]>()
  /** Names that stood for something for certain. */
  readonly #acked = new Set<string>()
  #node: NodeProcess | undefined
  #nats: TestNats | undefined
  #files: Readonly<Record<string, string>> = {}
  #hasKey = false
  #count = 0

  constructor(disk: PowerCutDisk, options: PowerCutOptions, random: () => number, result: PowerCutResult) {
    this.#disk = disk
    this.#options = options
    this.#random = random
    this.#result = result
  }

  get #dataDir(): string {
    return join(this.#disk.folder, 'data')
  }

  async start(): Promise<NodeProcess> {
    const { natsServer, sync } = this.#options
    const dataDir = this.#dataDir
    const env = { STOWAGE_LOG: 'warn', STOWAGE_DISK_RESERVE_BYTES: '16MiB', STOWAGE_SHARDS: '2' }
    if (sync === 'late') {
      const folder = join(this.#disk.folder, 'nats')
      this.#nats = await startTestNats({ dataDir: folder, syncAlways: false, binary: natsServer })
      const small = {
        STOWAGE_READS_BYTES_MAX: '16MiB',
        STOWAGE_QUEUE_BYTES_MAX: '16MiB',
        STOWAGE_DEAD_BYTES_MAX: '16MiB',
      }
      Object.assign(env, { STOWAGE_NATS_URL: this.#nats.url, ...small })
    }
    this.#node = await startNodeProcess({ dataDir, natsServer, env, readyMsMax: 120_000 })
    return this.#node
  }

  /** @returns false = the node did not start again */
  async cutOnce(isFirst: boolean): Promise<boolean> {
    const node = this.#node
    if (node === undefined) throw new Error('no node')
    this.#files = await this.#filesNow()
    if (isFirst && this.#options.sync === 'always') this.#hasKey = await makeKey(node)
    const stop = new AbortController()
    const writing = Array.from({ length: writers }, (_, writer) => this.#write(node, writer, stop.signal))
    const before = this.#puts.length
    const endMs = Date.now() + firstAckMsMax
    while (this.#puts.length === before && Date.now() < endMs) await delay(10)
    await delay(this.#random() * (isFirst ? 1_000 : 4_000))
    const server = this.#nats?.pid ?? (await serverPid(this.#dataDir))
    for (const pid of [server, node.pid]) if (pid !== undefined) process.kill(pid, 'SIGSTOP')
    stop.abort()
    await this.#disk.cut()
    if (server !== undefined) process.kill(server, 'SIGKILL')
    await node.end('SIGKILL')
    await Promise.all(writing)
    await this.#nats?.kill('SIGKILL')
    await this.#disk.powerUp()
    this.#result.cuts++
    const again = await this.start().catch((error: unknown) => void this.#result.notStarted.push(String(error)))
    if (again === undefined) return false
    await this.#judge(again)
    return true
  }

  async stop(): Promise<void> {
    const server = this.#nats === undefined ? await serverPid(this.#dataDir) : undefined
    await this.#node?.end('SIGKILL')
    if (server !== undefined) process.kill(server, 'SIGKILL')
    await this.#nats?.kill('SIGKILL')
  }

  /** Puts by CID and under a name in turn. What was not answered before the cut may be there or not. */
  async #write(node: NodeProcess, writer: number, signal: AbortSignal): Promise<void> {
    for (let turn = 0; !signal.aborted; turn++) {
      const seed = this.#options.seed * 1_000_000 + this.#count++
      const bytes = 1 + Math.floor(this.#random() ** 3 * bytesMax)
      const name = turn % 2 === 0 ? undefined : `writer-${writer}/${turn % namesPerWriter}`
      const hash = sha256(contentOf({ bytes, seed }))
      if (name !== undefined) this.#names.set(name, [...(this.#names.get(name) ?? []), hash])
      const cid = await put(node, contentOf({ bytes, seed }), name, signal)
      if (cid === undefined) continue
      this.#result.acked++
      this.#puts.push({ bytes, seed, cid })
      if (name === undefined) continue
      this.#names.set(name, [hash])
      this.#acked.add(name)
    }
  }

  async #judge(node: NodeProcess): Promise<void> {
    const { lost, wrong, files } = this.#result
    for (const { cid, bytes, seed } of this.#puts) {
      const found = await read(`${node.gatewayUrl}/ipfs/${cid}`)
      if (found === undefined) lost.push(`${cid} of ${bytes} bytes`)
      else if (found !== sha256(contentOf({ bytes, seed }))) wrong.push(cid)
    }
    for (const [name, possible] of this.#names) {
      const found = await read(`${node.gatewayUrl}/names/${name}`)
      // A name that was never acknowledged may not be there.
      if (found === undefined ? this.#acked.has(name) : !possible.includes(found)) lost.push(`name ${name}`)
      if (found === undefined) continue
      this.#names.set(name, [found])
      this.#acked.add(name)
    }
    const now = await this.#filesNow()
    for (const [name, content] of Object.entries(this.#files))
      if (now[name] !== content) files.push(`${name}: ${now[name]}`)
    if (this.#hasKey && !(await canUseKey(node))) files.push('keys.secret does not open the key')
  }

  async #filesNow(): Promise<Record<string, string>> {
    const names = this.#options.sync === 'always' ? ['admin.token', 'keys.secret'] : ['admin.token']
    const contents = names.map((name) => readFile(join(this.#dataDir, name), 'utf8').catch(() => 'gone'))
    return Object.fromEntries((await Promise.all(contents)).map((content, at) => [names[at], content]))
  }
}

const bearer = (node: NodeProcess) => ({ authorization: `Bearer ${node.token}` })

/** @returns the CID once it is acknowledged */
async function put(
  node: NodeProcess,
  body: Uint8Array,
  name: string | undefined,
  signal: AbortSignal,
): Promise<string | undefined> {
  const url = name === undefined ? `${node.apiUrl}/api/v1/objects` : `${node.apiUrl}/api/v1/names/${name}`
  try {
    const reply = await fetch(url, { method: name === undefined ? 'POST' : 'PUT', headers: bearer(node), body, signal })
    const { cid } = (await reply.json()) as { readonly cid?: string }
    return reply.ok ? cid : undefined
  } catch {
    // Cut off: nothing was promised.
    return undefined
  }
}

async function read(url: string): Promise<string | undefined> {
  const reply = await fetch(url)
  const body = Buffer.from(await reply.arrayBuffer())
  return reply.status === 200 ? sha256(body) : undefined
}

async function makeKey(node: NodeProcess): Promise<boolean> {
  const headers = { ...bearer(node), 'content-type': 'application/json' }
  const reply = await fetch(`${node.apiUrl}/api/v1/keys`, { method: 'POST', headers, body: '{"label":"site"}' })
  return reply.status === 201
}

async function canUseKey(node: NodeProcess): Promise<boolean> {
  return (await fetch(`${node.apiUrl}/api/v1/keys/site/export`, { method: 'POST', headers: bearer(node) })).ok
}
