import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { MemoryBlockstore } from '../../src/blocks/memory-blockstore.ts'
import { readConfig } from '../../src/config.ts'
import { createPut } from '../../src/content/put.ts'
import { type NodeProcess, startNodeProcess } from '../support/node-process.ts'
import { randomOf } from '../support/random.ts'

/**
 * Uploads while the node or its nats-server is killed at random moments.
 * The ledger lies here, outside the stores: what was acked must be read back byte for byte; what was not must be absent
 * or whole.
 */
export interface KillRunOptions {
  readonly dataDir: string
  readonly natsServer: string
  readonly seed: number
  /** Ends after so many uploads, or at `untilMs` (as Date.now tells time). */
  readonly uploadsMax: number
  readonly untilMs?: number
  readonly log?: (line: string) => void
}

export interface KillRunResult {
  readonly attempts: number
  readonly acked: number
  readonly killsOfNode: number
  readonly killsOfServer: number
  /** Acked and not read back: must be 0. */
  readonly lost: readonly string[]
  /** A reply of 200 with other bytes, or cut off though it looked whole: must be 0. */
  readonly wrong: readonly string[]
  /** What nodes printed that ended by themselves: a dead server must not take the node along. Must be empty. */
  readonly ended: readonly string[]
  /** Not acked, and there as a whole. */
  readonly recovered: number
}

interface Attempt {
  readonly bytes: number
  readonly seed: number
  acked: boolean
}

const uploadsAtOnce = 3
const bytesMax = 12 * 1024 * 1024
const retriesMax = 200

export async function killRun(options: KillRunOptions): Promise<KillRunResult> {
  const random = randomOf(options.seed)
  const state = { node: await start(options), done: false, killsOfNode: 0, killsOfServer: 0, ended: [] as string[] }
  const attempts: Attempt[] = []
  const more = () => attempts.length < options.uploadsMax && Date.now() < (options.untilMs ?? Number.POSITIVE_INFINITY)
  const killer = killAtRandom(state, options, random)
  const uploader = async () => {
    while (more()) {
      const attempt = { bytes: Math.floor(random() ** 2 * bytesMax), seed: attempts.length + 1, acked: false }
      attempts.push(attempt)
      let outcome = await upload(state.node, attempt)
      while (outcome === 'refused') {
        // Nobody listens while the node starts: that is not an upload yet.
        await delay(50)
        outcome = await upload(state.node, attempt)
      }
      attempt.acked = outcome === 'acked'
    }
  }
  try {
    await Promise.all(Array.from({ length: uploadsAtOnce }, uploader))
    state.done = true
    await killer
    return {
      ...(await judge(state.node, attempts)),
      killsOfNode: state.killsOfNode,
      killsOfServer: state.killsOfServer,
      ended: state.ended,
    }
  } finally {
    state.done = true
    await state.node.end('SIGTERM')
  }
}

interface RunState {
  node: NodeProcess
  done: boolean
  killsOfNode: number
  killsOfServer: number
  readonly ended: string[]
}

const start = ({ dataDir, natsServer }: KillRunOptions) =>
  startNodeProcess({ dataDir, natsServer, env: { STOWAGE_LOG: 'warn' } })

async function killAtRandom(state: RunState, options: KillRunOptions, random: () => number): Promise<void> {
  while (!state.done) {
    await delay(20 + random() * 280)
    if (state.node.hasEnded()) {
      state.ended.push(state.node.output().slice(-2_000))
      state.node = await start(options)
    }
    if (state.done) return
    if (random() < 0.5) {
      state.killsOfNode++
      options.log?.('kill -9 node')
      await state.node.end('SIGKILL')
      state.node = await start(options)
    } else {
      const pid = await serverPid(options.dataDir)
      if (pid === undefined) continue
      state.killsOfServer++
      options.log?.('kill -9 nats-server')
      process.kill(pid, 'SIGKILL')
    }
  }
}

export async function serverPid(dataDir: string): Promise<number | undefined> {
  const text = await readFile(join(dataDir, 'nats-server.pid'), 'utf8').catch(() => '')
  // {"pid":…,"started":…}
  const pid = Number(/\d+/.exec(text)?.[0])
  try {
    process.kill(pid, 0)
    return pid
  } catch {
    return undefined
  }
}

async function upload(node: NodeProcess, attempt: Attempt): Promise<'acked' | 'failed' | 'refused'> {
  try {
    const response = await fetch(`${node.apiUrl}/api/v1/objects`, {
      method: 'POST',
      headers: { authorization: `Bearer ${node.token}`, 'content-type': 'application/octet-stream' },
      body: contentOf(attempt),
    })
    await response.arrayBuffer()
    return response.status === 201 ? 'acked' : 'failed'
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException
    return code === 'ECONNREFUSED' ? 'refused' : 'failed'
  }
}

async function judge(node: NodeProcess, attempts: readonly Attempt[]) {
  const lost: string[] = []
  const wrong: string[] = []
  let recovered = 0
  for (const attempt of attempts) {
    const cid = await cidOf(attempt)
    const outcome = await read(node, cid, attempt)
    const name = `upload ${attempt.seed} of ${attempt.bytes} bytes, ${cid}: ${outcome}`
    if (outcome === 'whole' && !attempt.acked) recovered++
    if (outcome !== 'whole' && attempt.acked) lost.push(name)
    if (outcome === 'wrong') wrong.push(name)
  }
  return { attempts: attempts.length, acked: attempts.filter(({ acked }) => acked).length, lost, wrong, recovered }
}

async function read(node: NodeProcess, cid: string, attempt: Attempt): Promise<'whole' | 'absent' | 'wrong' | 'error'> {
  for (let i = 0; i < retriesMax; i++) {
    try {
      const response = await fetch(`${node.gatewayUrl}/ipfs/${cid}`)
      const body = Buffer.from(await response.arrayBuffer())
      if (response.status === 200) return sha256(body) === sha256(contentOf(attempt)) ? 'whole' : 'wrong'
      if (response.status === 404) return 'absent'
      if (response.status !== 503) return 'error'
    } catch {
      // Starting again, or cut off halfway, which is an honest end.
    }
    await delay(100)
  }
  return 'error'
}

async function cidOf(attempt: Attempt): Promise<string> {
  const put = createPut({ blocks: new MemoryBlockstore(), limits: readConfig({}).limits })
  const { signal } = new AbortController()
  const source = (async function* () {
    yield contentOf(attempt)
  })()
  return (await put.file(source, { signal, profile: 'unixfs-v1-2025' })).cid.toString()
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Bytes from a seed: any length, no two alike, made again instead of kept. */
export function contentOf({ bytes, seed }: Pick<Attempt, 'bytes' | 'seed'>): Buffer {
  const out = createHash('shake256', { outputLength: 4096 }).update(`upload ${seed}`).digest()
  const content = Buffer.alloc(bytes, out)
  // Blocks of one upload differ as well.
  for (let at = 0; at + 4 <= bytes; at += 65_536) content.writeUInt32LE(at / 65_536, at)
  return content
}
