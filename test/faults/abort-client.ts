import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { oneOf } from '../support/random.ts'
import type { RequestKind } from './abort-requests.ts'

/** How far a client comes before it leaves. */
export const steps = [
  'connected',
  'half a head',
  'head',
  'half a body',
  'all sent',
  'all sent, then a while',
  'first bytes of the answer',
  'half an answer',
  'several sent ahead',
  'asks to continue',
] as const
/** `answer`: to its end, for comparison. */
export type Step = (typeof steps)[number] | 'answer'

/** By FIN of both ways, by RST, or by a FIN of its own way only, some time before the rest. */
export const ways = ['FIN', 'RST', 'half-closed'] as const
export type Way = (typeof ways)[number]

export interface Abort {
  readonly kind: RequestKind
  readonly step: Step
  readonly way: Way
  /** Of what follows the step, where it has a while. */
  readonly waitMs: number
}

export function abortOf(kind: RequestKind, random: () => number, step = oneOf(random, steps)): Abort {
  return { kind, step, way: oneOf(random, ways), waitMs: Math.floor(random() ** 2 * 400) }
}

/** Longest wait for an answer that an abort is to fall into; NATS stands still meanwhile perhaps. */
const answerMsMax = 2_000

/** Sends the request as far as the step goes, then leaves. */
export async function abortAt(port: number, { kind, step, way, waitMs }: Abort): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: way === 'half-closed' })
  // Whatever the node does about it.
  socket.on('error', () => undefined)
  await Promise.race([once(socket, 'connect').catch(() => undefined), once(socket, 'close')])
  try {
    await comeTo(step, socket, kind, waitMs)
  } finally {
    await leave(socket, way)
  }
}

async function comeTo(step: Step, socket: Socket, kind: RequestKind, waitMs: number): Promise<void> {
  const { body } = kind
  const head = headOf(kind, moreOf(step, body !== undefined))
  const half = (bytes: Uint8Array) => bytes.subarray(0, Math.ceil(bytes.byteLength / 2))
  const all = body === undefined ? head : Buffer.concat([head, body])
  switch (step) {
    case 'connected':
      return
    case 'half a head':
      return send(socket, half(head))
    case 'head':
    case 'asks to continue':
      await send(socket, head)
      await delay(waitMs)
      return
    case 'half a body':
      await send(socket, body === undefined ? head : Buffer.concat([head, half(body)]))
      await delay(waitMs / 4)
      return
    case 'all sent':
      return send(socket, all)
    case 'all sent, then a while':
      await send(socket, all)
      await delay(waitMs)
      return
    case 'first bytes of the answer':
      await send(socket, all)
      await answered(socket, 1)
      return
    case 'answer':
      await send(socket, all)
      await answered(socket, kind.endless ? 1 : Number.POSITIVE_INFINITY)
      return
    case 'half an answer':
      await send(socket, all)
      await answered(socket, 100_000 * (1 + (waitMs % 10)))
      // It takes no more for a while: the node has to wait with the rest.
      socket.pause()
      await delay(waitMs / 2)
      return
    case 'several sent ahead':
      await send(socket, Buffer.concat(Array<Buffer>(12).fill(Buffer.from(all))))
      await delay(waitMs)
      return
  }
}

function moreOf(step: Step, hasBody: boolean): Readonly<Record<string, string>> {
  if (step === 'asks to continue') return hasBody ? { Expect: '100-continue' } : {}
  // A short answer ends the connection, so that nobody waits for more of it.
  return step === 'answer' || step === 'half an answer' ? { Connection: 'close' } : {}
}

function headOf({ method, path, headers = {}, body }: RequestKind, more: Readonly<Record<string, string>>): Buffer {
  const length = body === undefined ? {} : { 'Content-Length': String(body.byteLength) }
  const lines = Object.entries({ ...headers, ...length, ...more }).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1')
}

/** Until the system has taken it, the node has left, or a while has passed: a node that waits for NATS takes no more of a body. */
async function send(socket: Socket, bytes: Uint8Array): Promise<void> {
  if (socket.destroyed) return
  const taken = new Promise<void>((resolve) => socket.write(bytes, () => resolve()))
  await within(answerMsMax, Promise.race([taken, closed(socket)]))
}

/** Until so many bytes of the answer are here, it has ended, or a while has passed. */
async function answered(socket: Socket, bytes: number): Promise<void> {
  let received = 0
  const came = new Promise<void>((resolve) => {
    socket.on('data', (part: Buffer) => {
      received += part.byteLength
      if (received >= bytes) resolve()
    })
    socket.once('end', resolve)
  })
  await within(answerMsMax, Promise.race([came, closed(socket)]))
}

async function leave(socket: Socket, way: Way): Promise<void> {
  if (socket.destroyed) return
  const gone = closed(socket)
  if (way === 'RST') socket.resetAndDestroy()
  else if (way === 'FIN') socket.destroy()
  else {
    socket.end()
    socket.resume()
    await within(100, gone)
    socket.destroy()
  }
  await gone
}

const closed = (socket: Socket): Promise<void> =>
  socket.destroyed ? Promise.resolve() : new Promise((resolve) => socket.once('close', () => resolve()))

async function within(ms: number, what: Promise<unknown>): Promise<void> {
  const over = new AbortController()
  await Promise.race([what, delay(ms, undefined, { signal: over.signal }).catch(() => undefined)])
  over.abort()
}
