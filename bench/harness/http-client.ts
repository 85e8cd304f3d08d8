import { once } from 'node:events'
import { createReadStream, createWriteStream, statSync } from 'node:fs'
import { Agent, get, type IncomingMessage, request } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { MiB } from '../../src/lib/units.ts'
import { freshParts } from './content.ts'
import type { HttpJob, HttpResult } from './http-job.ts'

/** A process of its own: see run-job.ts. The job is the first argument, the result one line of JSON. */
const job = JSON.parse(process.argv[2] ?? '') as HttpJob
process.stdout.write(JSON.stringify(await run(job)))

function run(task: HttpJob): Promise<HttpResult> {
  switch (task.kind) {
    case 'upload':
      return upload(task)
    case 'download':
      return download(task)
    case 'requests':
      return requests(task)
  }
}

async function upload({
  url,
  headers,
  body,
  before = '',
  after = '',
}: HttpJob & { kind: 'upload' }): Promise<HttpResult> {
  const bytes = typeof body === 'number' ? body : statSync(body).size
  const source = typeof body === 'number' ? freshParts(body) : createReadStream(body, { highWaterMark: MiB })
  const start = performance.now()
  const outgoing = request(url, {
    method: 'POST',
    headers: { ...headers, 'content-length': Buffer.byteLength(before) + bytes + Buffer.byteLength(after) },
  })
  const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>
  if (before !== '') outgoing.write(before)
  for await (const part of source) {
    if (!outgoing.write(part)) await Promise.race([once(outgoing, 'drain'), answered])
  }
  outgoing.end(after)
  const [response] = await answered
  const reply = await textOf(response)
  if (response.statusCode !== 200 && response.statusCode !== 201) {
    throw new Error(`upload answered ${response.statusCode}: ${reply.slice(0, 300)}`)
  }
  return { seconds: (performance.now() - start) / 1000, bytes, count: 1, reply }
}

async function download(task: HttpJob & { kind: 'download' }): Promise<HttpResult> {
  const { url, headers = {}, bytesPerSecond, file } = task
  const start = performance.now()
  const [response] = (await once(get(url, { headers }), 'response')) as [IncomingMessage]
  if (response.statusCode !== 200) throw new Error(`${url} answered ${response.statusCode}`)
  let bytes = 0
  const count = (length: number) => {
    bytes += length
  }
  if (file !== undefined) {
    response.on('data', (chunk: Buffer) => count(chunk.byteLength))
    await pipeline(response, createWriteStream(file))
  } else if (bytesPerSecond === undefined) {
    response.on('data', (chunk: Buffer) => count(chunk.byteLength))
    await once(response, 'end')
  } else {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      count(chunk.byteLength)
      const aheadMs = (bytes / bytesPerSecond) * 1000 - (performance.now() - start)
      if (aheadMs > 20) await delay(aheadMs)
    }
  }
  if (!response.complete) throw new Error(`${url} was cut off after ${bytes} bytes`)
  return { seconds: (performance.now() - start) / 1000, bytes, count: 1, reply: '' }
}

/** GETs over connections that stay open, one after the other on each. */
async function requests({ url, connections, seconds }: HttpJob & { kind: 'requests' }): Promise<HttpResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const start = performance.now()
  let count = 0
  let bytes = 0
  const worker = async () => {
    while (performance.now() - start < seconds * 1000) {
      const [response] = (await once(get(url, { agent }), 'response')) as [IncomingMessage]
      if (response.statusCode !== 200) throw new Error(`${url} answered ${response.statusCode}`)
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.byteLength
      })
      await once(response, 'end')
      count++
    }
  }
  await Promise.all(Array.from({ length: connections }, worker))
  agent.destroy()
  return { seconds: (performance.now() - start) / 1000, bytes, count, reply: '' }
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return text
}
