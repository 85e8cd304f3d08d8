import { readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { type NodeProcess, startNodeProcess } from '../support/node-process.ts'
import { randomOf, shuffled } from '../support/random.ts'
import { abortAt, abortOf, steps } from './abort-client.ts'
import { putContent } from './abort-content.ts'
import { type NatsAbort, natsAborts } from './abort-nats.ts'
import { apiKinds, gatewayKinds, type RequestKind } from './abort-requests.ts'
import { warningsIn } from './log-warnings.ts'
import { hangMs, type Lag, Probe, startBareServer } from './probe.ts'

export interface AbortRunOptions {
  readonly dataDir: string
  readonly natsServer: string
  readonly seed: number
  /** Ends after so many, or after so long. */
  readonly abortsMax: number
  readonly lastsMs?: number
  readonly log?: (line: string) => void
}

/** What is held once all is quiet and the garbage is collected. Bytes. */
export interface Held {
  readonly heapUsed: number
  readonly rss: number
  readonly serverRss: number
  /** Buffers outside of the heap. */
  readonly external: number
  /** Most CPU time of the main thread between two turns of the event loop since the last look, in ms. */
  readonly busiest: number
  readonly files: number
  readonly consumers: number
  /** What Node's event loop waits for, by kind. */
  readonly resources: Readonly<Record<string, number>>
}

export interface AbortRunResult {
  readonly aborts: number
  readonly kinds: number
  readonly stalls: number
  /** Probes without an answer. Must be empty. */
  readonly hangs: readonly string[]
  /** How the node ended, if it did. Must be undefined. */
  readonly ended: string | undefined
  readonly lag: Lag
  /** Most CPU time of the main thread between two turns of the node's event loop: what of the lag is its own, on however busy a machine. */
  readonly busiestMs: number
  /** The lag of a server that does nothing. */
  readonly noise: Lag
  readonly before: Held
  readonly after: Held
  /** Lines of the log that are warnings or worse, and what Node warns of; with how often. */
  readonly warnings: Readonly<Record<string, number>>
}

const collect = pathToFileURL(resolve(import.meta.dirname, '../support/collect-on-signal.mjs')).href
const atOnce = 12
const idleSeconds = '5'
/** A token is looked up again when it was last looked up so long ago: requests wait for NATS then, all of them. */
const tokenMs = 5_200
const stallMs = 600
const answersBehind = 3

/** Clients that leave at every step of every kind of request, while the node's nats-server stands still now and then. */
export async function abortRun(options: AbortRunOptions): Promise<AbortRunResult> {
  const random = randomOf(options.seed)
  const node = await startNodeProcess({
    dataDir: options.dataDir,
    natsServer: options.natsServer,
    // A busy machine takes its time.
    readyMsMax: 120_000,
    env: {
      NODE_OPTIONS: `--import ${collect} --trace-warnings`,
      STOWAGE_LOG: 'warn',
      STOWAGE_CACHE_BYTES: '4MiB',
      STOWAGE_UPLOAD_IDLE_SECONDS: idleSeconds,
      STOWAGE_SEND_IDLE_SECONDS: idleSeconds,
      // A node that hangs tells where, in time for this run.
      STOWAGE_WATCHDOG_SECONDS: '15',
    },
  })
  const bare = await startBareServer()
  try {
    const content = await putContent(node.apiUrl, node.token)
    const kinds = [...gatewayKinds(content), ...apiKinds(content)]
    const nats = natsAborts(await natsUrlOf(node), content)
    const run = new Run(node, random, kinds, nats)
    await run.warmUp()
    const before = await held(node)
    const [probe, control] = [
      new Probe(`${node.apiUrl}/healthz`, `${node.gatewayUrl}/ipfs/bafkqaaa`),
      new Probe(bare.url),
    ]
    const endMs = Date.now() + (options.lastsMs ?? Number.POSITIVE_INFINITY)
    const goesOn = () => !node.hasEnded() && run.aborts < options.abortsMax && Date.now() < endMs
    while (goesOn()) {
      await run.round(goesOn)
      options.log?.(`${run.aborts} aborts, ${run.stalls} stalls, ${probe.hangs.length} hangs`)
    }
    const [lag, noise] = await Promise.all([probe.stop(), control.stop()])
    const busiestMs = node.hasEnded() ? 0 : (await held(node)).busiest
    const ended = node.hasEnded() ? node.output().slice(-4_000) : undefined
    const after = ended === undefined ? await settledTo(before, node) : before
    const counts = { aborts: run.aborts, stalls: run.stalls, kinds: kinds.length + nats.length }
    return {
      ...counts,
      hangs: probe.hangs,
      ended,
      lag,
      busiestMs,
      noise,
      before,
      after,
      warnings: warningsIn(node.output()),
    }
  } finally {
    await bare.stop()
    await node.end('SIGTERM')
    // A node that did not end by itself leaves its server.
    await serverPid(node).then(
      (pid) => process.kill(pid, 'SIGKILL'),
      () => undefined,
    )
  }
}

class Run {
  aborts = 0
  stalls = 0
  readonly #node: NodeProcess
  readonly #random: () => number
  readonly #kinds: readonly RequestKind[]
  readonly #nats: readonly NatsAbort[]

  constructor(node: NodeProcess, random: () => number, kinds: readonly RequestKind[], nats: readonly NatsAbort[]) {
    this.#node = node
    this.#random = random
    this.#kinds = kinds
    this.#nats = nats
  }

  /** Each kind once to its end, so that what is made once is there, and its code compiled. */
  async warmUp(): Promise<void> {
    const works = [
      ...this.#kinds.map((kind) => () => abortAt(this.#portOf(kind), { kind, step: 'answer', way: 'FIN', waitMs: 0 })),
      ...this.#nats.map(
        ({ run }) =>
          () =>
            run(this.#random),
      ),
    ]
    await atATime(works, () => true)
  }

  /**
   * First all kinds at a time into a stall in which every token has to be looked up anew; then all steps of all kinds and those
   * of NATS, in an order of the seed's, among stalls.
   */
  async round(goesOn: () => boolean): Promise<void> {
    const random = this.#random
    await delay(tokenMs)
    await this.#stalled(stallMs, async () => {
      const aborts = this.#kinds.map((kind) => abortOf(kind, random, 'all sent, then a while'))
      await Promise.all(aborts.map((abort) => this.#abort(() => abortAt(this.#portOf(abort.kind), abort))))
      // On a busy machine the node may not have heard of any of them yet, or of their end.
      for (let i = 0; i < answersBehind; i++) await answersOf(this.#node)
    })
    const http = this.#kinds.flatMap((kind) => steps.map((step) => abortOf(kind, random, step)))
    const works = [
      ...http.map((abort) => () => abortAt(this.#portOf(abort.kind), abort)),
      ...this.#nats.flatMap(({ run }) => Array.from({ length: 4 }, () => () => run(random))),
    ]
    let done = false
    const stalling = this.#stallNowAndThen(() => done)
    await atATime(
      shuffled(random, works).map((work) => () => this.#abort(work)),
      goesOn,
    )
    done = true
    await stalling
  }

  async #abort(work: () => Promise<void>): Promise<void> {
    this.aborts++
    await work()
  }

  #portOf({ listener }: RequestKind): number {
    return Number(new URL(listener === 'api' ? this.#node.apiUrl : this.#node.gatewayUrl).port)
  }

  async #stallNowAndThen(isDone: () => boolean): Promise<void> {
    while (!isDone() && !this.#node.hasEnded()) {
      await delay(200 + this.#random() * 1_500)
      await this.#stalled(100 + this.#random() * stallMs, async () => undefined)
    }
  }

  /** While nats-server stands still, for so long at least. */
  async #stalled(ms: number, work: () => Promise<void>): Promise<void> {
    const pid = await serverPid(this.#node)
    this.stalls++
    process.kill(pid, 'SIGSTOP')
    // Whoever waits for it is to leave before it goes on.
    await Promise.all([delay(ms), work()]).finally(() => process.kill(pid, 'SIGCONT'))
  }
}

/** An answer on a connection of its own, of each listener: what came before it has been taken in. */
async function answersOf({ apiUrl, gatewayUrl }: NodeProcess): Promise<void> {
  const asked = [`${apiUrl}/healthz`, `${gatewayUrl}/ipfs/bafkqaaa`].map((url) =>
    fetch(url, { headers: { connection: 'close' }, signal: AbortSignal.timeout(hangMs) }).then((reply) => reply.text()),
  )
  // One that hangs is the probe's to tell of.
  await Promise.allSettled(asked)
}

async function atATime(works: readonly (() => Promise<void>)[], goesOn: () => boolean): Promise<void> {
  const left = [...works]
  const worker = async () => {
    for (let work = left.pop(); work !== undefined && goesOn(); work = left.pop()) await work()
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

async function serverPid({ dataDir }: NodeProcess): Promise<number> {
  return (JSON.parse(await readFile(join(dataDir, 'nats-server.pid'), 'utf8')) as { readonly pid: number }).pid
}

const natsUrlOf = ({ output }: NodeProcess): string => /nats:\/\/127\.0\.0\.1:\d+/.exec(output())?.[0] ?? ''

/** Transfers that were left end by their time limits, and what was kept for them goes then. */
const settleMsMax = 90_000
/** More than this beyond the start is a leak, or something that has not ended yet. */
const heapSlack = 16 * 1024 * 1024

async function settledTo(before: Held, node: NodeProcess): Promise<Held> {
  const endMs = Date.now() + settleMsMax
  let now = await held(node)
  while (!isBackTo(before, now) && Date.now() < endMs) {
    await delay(2_000)
    now = await held(node)
  }
  return now
}

/** Whether nothing is left of what was done between: memory of the heap and its buffers, and what is open. */
export function isBackTo(before: Held, now: Held): boolean {
  const memory = ({ heapUsed, external }: Held) => heapUsed + external
  return memory(now) <= memory(before) + heapSlack && now.files <= before.files + 2 && now.consumers <= before.consumers
}

async function held(node: NodeProcess): Promise<Held> {
  const said = () => node.output().split('{"collected":')
  const count = said().length
  process.kill(node.pid, 'SIGUSR2')
  while (said().length === count) {
    if (node.hasEnded()) throw new Error(`the node has ended:\n${node.output().slice(-4_000)}`)
    await delay(20)
  }
  const line = said().at(-1)?.split('\n')[0] ?? ''
  const collected = (JSON.parse(`{"collected":${line}`) as { readonly collected: Held }).collected
  const server = await readFile(`/proc/${await serverPid(node)}/status`, 'utf8')
  return {
    ...collected,
    serverRss: Number(/VmRSS:\s+(\d+)/.exec(server)?.[1]) * 1024,
    files: (await readdir(`/proc/${node.pid}/fd`)).length,
    consumers: await consumersAt(natsUrlOf(node)),
  }
}

async function consumersAt(servers: string): Promise<number> {
  const connection = await connect({ servers })
  try {
    let count = 0
    for await (const { state } of (await jetstreamManager(connection)).streams.list()) count += state.consumer_count
    return count
  } finally {
    await connection.close()
  }
}
