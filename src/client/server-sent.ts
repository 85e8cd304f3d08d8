import { AppError } from '../errors.ts'

/** One event of a `text/event-stream` (WHATWG HTML §9.2.6). */
export interface ServerSentEvent {
  /** What `Last-Event-ID` takes to go on after this event; undefined before the first id. */
  readonly id: string | undefined
  readonly event: string
  /** Undefined where the stream only tells how far it is. */
  readonly data: string | undefined
}

const eventCharactersMax = 16 * 1024 * 1024

/** Pulls. Comments are left out; an event that the end of the stream cuts short is dropped, as the standard has it. */
export async function* serverSentEvents(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  let id: string | undefined
  let event = ''
  let data: string[] = []
  let moved = false
  for await (const line of linesOf(chunks)) {
    if (line === '') {
      const text = data.length > 0 ? data.join('\n') : undefined
      if (text !== undefined || moved) yield { id, event: event === '' ? 'message' : event, data: text }
      event = ''
      data = []
      moved = false
      continue
    }
    const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
    if (field === 'data') data.push(value ?? '')
    else if (field === 'event') event = value ?? ''
    else if (field === 'id' && value?.includes('\0') !== true) {
      id = value ?? ''
      moved = true
    }
  }
}

/** Lines end with LF, CRLF or CR. @throws AppError INTERNAL for one without end */
async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of chunks) {
    rest += decoder.decode(chunk, { stream: true })
    // A CR at the very end may be half of a CRLF.
    const lines = rest.split(/\r\n|\n|\r(?!$)/)
    rest = lines.pop() ?? ''
    if (rest.length > eventCharactersMax) throw new AppError('INTERNAL', 'the node sends a line without end')
    yield* lines
  }
}
