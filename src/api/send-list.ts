import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Turns } from '../lib/turns.ts'
import { clientOf } from './bounds.ts'

/** Entries of a slice: some 5 ms of work, and at most 200 KB of names. */
const sliceMax = 250

/** A part of a page, read at a time. */
export interface Slice {
  /** As JSON shows them. */
  readonly items: readonly object[]
  /** To go on after; undefined where the list ends. */
  readonly next?: string | undefined
}

export interface List {
  readonly turns: Turns
  readonly signal: AbortSignal
  /** The field that holds the items; `next` is the other one. */
  readonly field: string
  /** Fields before it. */
  readonly head?: object
  readonly limit: number
  /** To begin after. */
  readonly cursor?: string | undefined
  read(limit: number, cursor: string | undefined): Promise<Slice>
}

/**
 * Answers with one page of a list, read, encoded and sent a slice at a time: whoever asks for a lot takes turns with others, a
 * client that takes nothing or has left stops the list, and memory is that of a slice. A failure before the first slice is
 * an answer of its own, a later one a cut.
 * @throws as `read`; the signal's reason
 */
export async function sendList(request: FastifyRequest, reply: FastifyReply, list: List): Promise<FastifyReply> {
  reply.header('content-type', 'application/json; charset=utf-8')
  const parts = written(list, clientOf(request))
  const first = await parts.next()
  if (first.done || first.value.isLast) return reply.send(first.value?.text)
  if (request.method === 'HEAD') {
    await parts.return(undefined)
    return reply.send()
  }
  const text = async function* () {
    yield first.value.text
    for await (const part of parts) yield part.text
  }
  return reply.send(Readable.from(text(), { objectMode: false, highWaterMark: 1 }))
}

interface Part {
  readonly text: string
  readonly isLast: boolean
}

async function* written(list: List, client: unknown): AsyncGenerator<Part, undefined> {
  const { turns, signal, field, head = {} } = list
  let { cursor } = list
  let text = `${JSON.stringify(head).slice(0, -1)}${Object.keys(head).length > 0 ? ',' : ''}${JSON.stringify(field)}:[`
  let isEmpty = true
  for (let left = list.limit; ; ) {
    const asked = Math.min(left, sliceMax)
    const slice = await turns.run(client, signal, async () => {
      const { items, next } = await list.read(asked, cursor)
      return { json: items.map((item) => JSON.stringify(item)).join(','), next }
    })
    left -= asked
    cursor = slice.next
    if (slice.json !== '') text += isEmpty ? slice.json : `,${slice.json}`
    isEmpty &&= slice.json === ''
    if (cursor === undefined || left === 0) {
      yield { text: `${text}]${cursor === undefined ? '' : `,"next":${JSON.stringify(cursor)}`}}`, isLast: true }
      return
    }
    yield { text, isLast: false }
    text = ''
  }
}
