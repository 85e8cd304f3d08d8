import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import type { NodeProcess } from '../support/node-process.ts'
import { randomOf } from '../support/random.ts'
import { tar } from '../support/tar.ts'

/**
 * What a busy node meets, mixed: content and names in and out in every form, lists, followers, requests over NATS, bad ones,
 * and a quarter of all that clients give up. The content is bounded, so that the store does not grow for ever: an hour puts
 * the same things again.
 */
export interface SoakLoad {
  /** What came of how many: `put 201`, `get aborted`. */
  readonly counts: ReadonlyMap<string, number>
  /** Replies of 200 with other bytes than were put. Must be empty. */
  readonly wrong: readonly string[]
  /** Answers of 500 and the like, that no request of these deserves. Must be empty. */
  readonly failed: readonly string[]
  /** Puts all content once, so that the store and what is cached of it are as large as they get before anybody measures. */
  fill(workers: number): Promise<void>
  /** Until `untilMs`, so many at a time. */
  run(untilMs: number, workers: number): Promise<void>
  /** Acked and not read back. Must be empty. */
  lost(): Promise<string[]>
  close(): Promise<void>
}

const namesMax = 300
const abortShare = 0.25
const abortMsMax = 80
/** What has no answer by then hangs. */
const answerMsMax = 120_000
const pauseMs = 20
const toldMax = 20

interface Outcome {
  readonly status: number
  readonly body: Buffer
}

/** @param contentsMax how many different contents there are, of some 0.4 MB on average */
export async function openSoakLoad(node: NodeProcess, seed: number, contentsMax: number): Promise<SoakLoad> {
  const random = randomOf(seed)
  const below = (count: number) => Math.floor(random() * count)
  /** By number; the CID is what the node answered. */
  const acked = new Map<number, string>()
  const counts = new Map<string, number>()
  const wrong: string[] = []
  const failed: string[] = []
  const nats = await connect({ servers: natsUrlOf(node) })
  const headers = { authorization: `Bearer ${node.token}` }

  const http = async (url: string, init: RequestInit): Promise<Outcome> => {
    const response = await fetch(url, init)
    return { status: response.status, body: Buffer.from(await response.arrayBuffer()) }
  }
  const upload = (path: string, body: Buffer, type: string, signal: AbortSignal, method = 'POST') =>
    http(`${node.apiUrl}/api/v1/${path}`, {
      ...{ method, body, signal },
      headers: { ...headers, 'content-type': type },
    })
  const expectBytes = (what: string, actual: Uint8Array, expected: Uint8Array) => {
    if (Buffer.compare(actual, expected) !== 0)
      wrong.push(`${what}: ${actual.byteLength} of ${expected.byteLength} bytes`)
  }
  /** Something that was acked; undefined as long as there is nothing. */
  const known = (): { readonly number: number; readonly cid: string } | undefined => {
    const at = below(acked.size)
    const [number, cid] = [...acked][at] ?? []
    return number === undefined || cid === undefined ? undefined : { number, cid }
  }
  const acts: Readonly<Record<string, Act>> = {
    put: async (signal) => {
      const number = below(contentsMax)
      const { status, body } = await upload('objects', contentOf(number), 'application/octet-stream', signal)
      if (status === 201) acked.set(number, (JSON.parse(body.toString()) as { cid: string }).cid)
      return status
    },
    name: async (signal) => {
      const number = below(namesMax)
      return (await upload(`names/soak/${number}`, contentOf(number), 'text/plain', signal, 'PUT')).status
    },
    tar: async (signal) => {
      const files = Array.from({ length: 1 + below(40) }, (_, at) => ({ path: `t/${at}`, content: `${below(200)}` }))
      return (await upload('objects', tar(...files), 'application/x-tar', signal)).status
    },
    get: async (signal) => {
      const what = known()
      if (what === undefined) return 0
      const { status, body } = await http(`${node.gatewayUrl}/ipfs/${what.cid}`, { signal })
      if (status === 200) expectBytes(`get ${what.cid}`, body, contentOf(what.number))
      return status
    },
    range: async (signal) => {
      const what = known()
      if (what === undefined) return 0
      const all = contentOf(what.number)
      const from = below(all.byteLength)
      const to = from + below(all.byteLength - from)
      const range = { range: `bytes=${from}-${to}` }
      const { status, body } = await http(`${node.gatewayUrl}/ipfs/${what.cid}`, { signal, headers: range })
      if (status === 206) expectBytes(`range ${what.cid}`, body, all.subarray(from, to + 1))
      return status
    },
    car: async (signal) => {
      const what = known()
      if (what === undefined) return 0
      const { status, body } = await http(`${node.gatewayUrl}/ipfs/${what.cid}?format=car`, { signal })
      if (status !== 200) return status
      return (await upload('objects', body, 'application/vnd.ipld.car', signal)).status
    },
    'tar out': async (signal) => {
      const what = known()
      if (what === undefined) return 0
      return (await http(`${node.gatewayUrl}/ipfs/${what.cid}?format=tar`, { signal })).status
    },
    'names list': async (signal) =>
      (await http(`${node.apiUrl}/api/v1/names?limit=${1 + below(1_000)}`, { signal })).status,
    stat: async (signal) => {
      const what = known()
      if (what === undefined) return 0
      return (await http(`${node.apiUrl}/api/v1/objects/${what.cid}`, { signal })).status
    },
    follow: async (signal) => {
      // Not `AbortSignal.any`: in Node 20 its signal may be collected before it aborts.
      const leaving = new AbortController()
      signal.addEventListener('abort', () => leaving.abort(), { once: true })
      setTimeout(() => leaving.abort(), 50 + below(400))
      const url = `${node.apiUrl}/api/v1/events?since=${below(50)}`
      const events = await fetch(url, { headers, signal: leaving.signal })
      await events.arrayBuffer()
      return events.status
    },
    'nats put': async () => natsStatus(nats, 'stowage.cmd.main.put', contentOf(below(contentsMax)).subarray(0, 20_000)),
    'nats get': async () => {
      const what = known()
      return what === undefined ? 0 : natsStatus(nats, `stowage.qry.main.get.${what.cid}`)
    },
    miss: async (signal) => (await http(`${node.gatewayUrl}/ipfs/${absentCid}`, { signal })).status,
    bad: async (signal) =>
      (await upload('objects', contentOf(below(contentsMax)), 'application/vnd.ipld.car', signal)).status,
  }

  const step = async (kind: string, act: Act): Promise<void> => {
    const giveUp = new AbortController()
    const gaveUp = random() < abortShare
    const timer = setTimeout(() => giveUp.abort(), gaveUp ? random() * abortMsMax : answerMsMax)
    let outcome: number | string
    try {
      outcome = await act(giveUp.signal)
    } catch (error) {
      const isOver = gaveUp || (kind === 'follow' && !giveUp.signal.aborted)
      outcome = isOver ? 'aborted' : 'no answer'
      if (!isOver) failed.push(`${kind}: ${String((error as Error).cause ?? error)}`)
    } finally {
      clearTimeout(timer)
    }
    if (typeof outcome === 'number' && outcome >= 500) failed.push(`${kind}: ${outcome}`)
    const key = `${kind} ${outcome}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }

  return {
    ...{ counts, wrong, failed },
    async fill(workers) {
      const left = Array.from({ length: contentsMax }, (_, number) => number)
      const worker = async () => {
        for (let number = left.pop(); number !== undefined; number = left.pop()) {
          const signal = AbortSignal.timeout(answerMsMax)
          const { status, body } = await upload('objects', contentOf(number), 'application/octet-stream', signal)
          if (status === 201) acked.set(number, (JSON.parse(body.toString()) as { cid: string }).cid)
          else failed.push(`fill: ${status} ${body}`)
        }
      }
      await Promise.all(Array.from({ length: workers }, worker))
    },
    async run(untilMs, workers) {
      const kinds = Object.entries(acts)
      const worker = async () => {
        while (Date.now() < untilMs && failed.length < toldMax && !node.hasEnded()) {
          const [kind, act] = kinds[below(kinds.length)] ?? []
          if (kind !== undefined && act !== undefined) await step(kind, act)
          await delay(pauseMs)
        }
      }
      await Promise.all(Array.from({ length: workers }, worker))
    },
    async lost() {
      const lost: string[] = []
      for (const [number, cid] of acked) {
        const signal = AbortSignal.timeout(answerMsMax)
        const read = await http(`${node.gatewayUrl}/ipfs/${cid}`, { signal }).catch((error: Error) => error)
        if (read instanceof Error) lost.push(`${cid}: ${read.message}`)
        else if (read.status !== 200 || !contentOf(number).equals(read.body)) lost.push(`${cid}: ${read.status}`)
      }
      return lost
    },
    close: () => nats.close(),
  }
}

/** @returns the status of the answer; 0 when there was nothing to ask for yet */
type Act = (signal: AbortSignal) => Promise<number>

const absentCid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'

/** Up to 2 MB, most of them small; the same for the same number. */
function contentOf(number: number): Buffer {
  const bytes = 1 + Math.floor(randomOf(number)() ** 4 * 2_000_000)
  return createHash('shake256', { outputLength: bytes }).update(`soak ${number}`).digest()
}

async function natsStatus(nats: NatsConnection, subject: string, body?: Buffer): Promise<number> {
  const reply = await nats.request(subject, body ?? '', { timeout: 60_000 })
  return Number(reply.headers?.get('Nats-Service-Error-Code') || 200)
}

/** As the node's greeting says it. */
function natsUrlOf(node: NodeProcess): string {
  const [, url = ''] = /^ {2}NATS +(\S+)$/m.exec(node.output()) ?? []
  return url
}
