import { createSocket, type RemoteInfo } from 'node:dgram'
import { once } from 'node:events'
import type { TestContext } from 'vitest'

export interface TestDns {
  /** `127.0.0.1:<port>`. */
  readonly address: string
  /** Names that were asked for, in order. */
  readonly asked: readonly string[]
  /** TXT records by name; a record may be several strings. A name without any is NXDOMAIN, `fail` is SERVFAIL, `silent` no answer. */
  readonly records: Map<string, readonly (string | readonly string[])[] | 'fail' | 'silent'>
}

const headerBytes = 12
const txt = 16

/** A DNS server on UDP that knows TXT records, as far as RFC 1035 is needed for that. */
export async function openDns(onFinished: TestContext['onTestFinished']): Promise<TestDns> {
  const socket = createSocket('udp4')
  const asked: string[] = []
  const records: TestDns['records'] = new Map()
  socket.on('message', (query: Buffer, from: RemoteInfo) => {
    const { name, end } = readName(query)
    asked.push(name)
    const found = records.get(name) ?? []
    if (found === 'silent') return
    socket.send(answer(query.subarray(0, end + 4), found), from.port, from.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  onFinished(() => void socket.close())
  return { address: `127.0.0.1:${socket.address().port}`, asked, records }
}

function readName(query: Buffer): { readonly name: string; readonly end: number } {
  const labels: string[] = []
  let at = headerBytes
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join('.').toLowerCase(), end: at + 1 }
}

function answer(question: Buffer, found: readonly (string | readonly string[])[] | 'fail'): Buffer {
  const texts = found === 'fail' ? [] : found
  const code = found === 'fail' ? 2 : texts.length === 0 ? 3 : 0
  const head = Buffer.from(question)
  // An answer, recursion wanted and available.
  head.writeUInt16BE(0x8180 | code, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(texts.length, 6)
  head.writeUInt32BE(0, 8)
  return Buffer.concat([head, ...texts.map((text) => record([text].flat()))])
}

function record(strings: readonly string[]): Buffer {
  const data = Buffer.concat(
    strings.map((text) => Buffer.concat([Buffer.from([Buffer.byteLength(text)]), Buffer.from(text)])),
  )
  const head = Buffer.alloc(12)
  // The name of the question, TXT, IN, a TTL of a minute.
  head.writeUInt16BE(0xc000 | headerBytes, 0)
  head.writeUInt16BE(txt, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt32BE(60, 6)
  head.writeUInt16BE(data.byteLength, 10)
  return Buffer.concat([head, data])
}
