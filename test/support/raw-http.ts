import { once } from 'node:events'
import { connect } from 'node:net'
import { expect } from 'vitest'

export interface RawAnswer {
  /** Undefined: the connection was closed without an answer. */
  readonly status: number | undefined
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
  /** Everything that came, of all answers. */
  readonly all: Buffer
}

/** Generous: whatever takes longer hangs. */
const capMs = 10_000

/**
 * Puts bytes onto a connection and reads until the server ends it, so each request has to say `Connection: close` or be
 * one that ends its connection. @throws Error when the server does not end it in time
 */
export async function exchange(port: number, parts: readonly (string | Uint8Array)[]): Promise<RawAnswer> {
  const socket = connect(port, '127.0.0.1')
  const received: Buffer[] = []
  socket.on('data', (part: Buffer) => received.push(part))
  // A server that has answered need not read on.
  socket.on('error', () => undefined)
  let hangs = false
  const cap = setTimeout(() => {
    hangs = true
    socket.destroy()
  }, capMs)
  try {
    const closed = once(socket, 'close')
    for (const part of parts) socket.write(typeof part === 'string' ? Buffer.from(part, 'latin1') : part)
    await closed
  } finally {
    clearTimeout(cap)
  }
  if (hangs) throw new Error(`no end after ${capMs} ms: ${Buffer.concat(received).subarray(0, 200).toString('latin1')}`)
  return parse(Buffer.concat(received))
}

function parse(all: Buffer): RawAnswer {
  const end = all.indexOf('\r\n\r\n')
  const [first = '', ...lines] = all.subarray(0, Math.max(0, end)).toString('latin1').split('\r\n')
  const status = /^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1]
  const headers = new Map<string, string>()
  for (const line of lines) {
    const colon = line.indexOf(':')
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim())
  }
  return { status: status === undefined ? undefined : Number(status), headers, body: all.subarray(end + 4), all }
}

/** A request whose answer, if it is an error, comes as JSON. */
export function request(
  target: string,
  {
    method = 'GET',
    headers = {},
  }: { readonly method?: string; readonly headers?: Readonly<Record<string, string>> } = {},
): string {
  const all = { Host: '127.0.0.1', Accept: 'application/json', Connection: 'close', ...headers }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`)
  return `${[`${method} ${target} HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n`
}

/** Each error has a code and a message, as JSON, and tells nothing of the program. */
export function expectErrorShape({ status, body, headers }: RawAnswer): void {
  if (status === undefined || status < 400) return
  expect(headers.get('content-type')).toMatch(/^application\/json/)
  const text = body.toString('utf8')
  const error = JSON.parse(text) as Record<string, unknown>
  expect(error).toMatchObject({ code: expect.stringMatching(/^[a-z_]+$/), message: expect.stringMatching(/\S/) })
  expect(text).not.toMatch(/\bat .+:\d+:\d+|node_modules|\.ts\b/)
  expect(text.length).toBeLessThan(1000)
}
