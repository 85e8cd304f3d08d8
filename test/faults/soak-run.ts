import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { MiB } from '../../src/lib/units.ts'
import { type NodeProcess, startNodeProcess } from '../support/node-process.ts'
import { openSoakLoad } from './soak-load.ts'
import { type Sample, type Trend, trendOf, type UnwantedLine, unwantedLines } from './soak-report.ts'

/** A mixed load on one node for a while: whether it keeps its memory, its files and its peace (see `soak-load.ts`). */
export interface SoakOptions {
  readonly dataDir: string
  readonly natsServer: string
  readonly seed: number
  /** From when the node is ready. */
  readonly durationMs: number
  readonly sampleMs?: number
  /** How many different contents there are. */
  readonly contentsMax?: number
  readonly log?: (line: string) => void
}

export interface SoakResult {
  readonly counts: Readonly<Record<string, number>>
  readonly wrong: readonly string[]
  readonly failed: readonly string[]
  readonly lost: readonly string[]
  readonly unwanted: readonly UnwantedLine[]
  readonly hasEnded: boolean
  /** In bytes; of a run that is too short to tell they say little. */
  readonly node: Trend
  readonly server: Trend
  readonly handles: Trend
}

const workers = 8
/** Small enough to be there before the first look, and to be put again many times. */
const contentsMaxDefault = 200
const bytesNoise = 16 * MiB
const handlesNoise = 8

export async function soakRun(options: SoakOptions): Promise<SoakResult> {
  const { dataDir, natsServer, seed, durationMs, sampleMs = 10_000, contentsMax = contentsMaxDefault, log } = options
  // A busy machine takes its time.
  const node = await startNodeProcess({ dataDir, natsServer, readyMsMax: 120_000 })
  const load = await openSoakLoad(node, seed, contentsMax).catch(async (error: unknown) => {
    await node.end('SIGTERM')
    throw error
  })
  const samples: Sample[] = []
  const stop = new AbortController()
  try {
    await load.fill(workers)
    const watching = watch(node, dataDir, sampleMs, stop.signal, (sample) => {
      samples.push(sample)
      log?.(lineOf(sample))
    })
    await load.run(Date.now() + durationMs, workers)
    stop.abort()
    await watching
    const hasEnded = node.hasEnded()
    const lost = hasEnded ? [] : await load.lost()
    return {
      ...{ counts: Object.fromEntries(load.counts), wrong: load.wrong, failed: load.failed, lost, hasEnded },
      unwanted: unwantedLines(node.output()),
      node: trendOf(samples, ({ nodeBytes }) => nodeBytes, bytesNoise),
      server: trendOf(samples, ({ serverBytes }) => serverBytes, bytesNoise),
      handles: trendOf(samples, ({ handles }) => handles, handlesNoise),
    }
  } finally {
    stop.abort()
    await load.close()
    await node.end('SIGTERM')
  }
}

async function watch(
  node: NodeProcess,
  dataDir: string,
  everyMs: number,
  signal: AbortSignal,
  tell: (sample: Sample) => void,
): Promise<void> {
  const beganMs = Date.now()
  while (!signal.aborted && !node.hasEnded()) {
    tell({
      seconds: (Date.now() - beganMs) / 1000,
      nodeBytes: await rssOf(node.pid),
      serverBytes: await rssOf(await serverPidOf(dataDir)),
      handles: (await readdir(`/proc/${node.pid}/fd`).catch(() => [])).length,
    })
    await delay(everyMs, undefined, { signal }).catch(() => undefined)
  }
}

async function rssOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024
}

async function serverPidOf(dataDir: string): Promise<number> {
  const text = await readFile(join(dataDir, 'nats-server.pid'), 'utf8').catch(() => '')
  return Number(/\d+/.exec(text)?.[0] ?? 0)
}

function lineOf({ seconds, nodeBytes, serverBytes, handles }: Sample): string {
  const inMiB = (bytes: number) => `${Math.round(bytes / MiB)} MiB`
  return `${seconds.toFixed(0).padStart(6)} s  node ${inMiB(nodeBytes)}  nats-server ${inMiB(serverBytes)}  handles ${handles}`
}

/** Shorter ones end while caches and heaps still fill. */
const tellingMs = 10 * 60_000

/** What a person reads of it. @returns whether all is well; memory counts in a run that is long enough to tell */
export function tellSoak(result: SoakResult, ranMs: number, log: (line: string) => void): boolean {
  const { counts, wrong, failed, lost, unwanted, hasEnded, node, server, handles } = result
  log(JSON.stringify(counts))
  const memory = (name: string, { grown, median, isFlat }: Trend) =>
    log(
      `${name}: ${isFlat ? 'flat' : 'GROWING'}, ${(median / MiB).toFixed(0)} MiB, ${(grown / MiB).toFixed(1)} MiB in the second half`,
    )
  memory('RSS of the node', node)
  memory('RSS of nats-server', server)
  log(`open files of the node: ${handles.isFlat ? 'flat' : 'GROWING'}, ${handles.median}`)
  for (const [name, lines] of Object.entries({ wrong, failed, lost })) for (const line of lines) log(`${name}: ${line}`)
  for (const { count, line } of unwanted) log(`in the log, ${count} times: ${line.slice(0, 1_000)}`)
  if (hasEnded) log('the node ended')
  const isTelling = ranMs >= tellingMs
  if (!isTelling) log(`memory is told by runs of ${tellingMs / 60_000} minutes and more`)
  const areFlat = node.isFlat && server.isFlat && handles.isFlat
  const isSound = wrong.length + failed.length + lost.length + unwanted.length === 0 && !hasEnded
  return isSound && (areFlat || !isTelling)
}
