import { once } from 'node:events'
import { errorBody, isAppError } from '../errors.ts'
import type { Io } from './io.ts'
import { printable } from './printable.ts'
import { type Progress, startProgress } from './progress.ts'

/** Results on stdout, for people or as JSON lines; everything else on stderr. */
export interface Output {
  readonly json: boolean
  /** One result: `value` with `--json`, else `text` (which may have several lines). */
  result(value: unknown, text: string): Promise<void>
  /** Content, as it is. Waits while the reader is slow. */
  bytes(content: AsyncIterable<Uint8Array>): Promise<void>
  /** One line on stderr about how it goes; silent with `--json`. */
  notice(text: string): void
  /** Silent with `--json` and where stderr is no terminal. */
  progress(label: string, totalBytes: number | undefined): Progress
}

export function createOutput(io: Io, json: boolean): Output {
  let broken: Error | undefined
  // A reader that has left (`| head`): without a listener it would end the process with a stack.
  io.stdout.on('error', (error) => {
    broken = error
  })
  const write = async (chunk: string | Uint8Array): Promise<void> => {
    if (broken !== undefined) throw broken
    if (!io.stdout.write(chunk)) await once(io.stdout, 'drain', { signal: io.signal })
  }
  return {
    json,
    result: (value, text) => write(`${json ? JSON.stringify(value) : text}\n`),
    bytes: async (content) => {
      for await (const chunk of content) await write(chunk)
    },
    notice: (text) => {
      if (!json) io.stderr.write(`stowage: ${printable(text)}\n`)
    },
    progress: (label, totalBytes) =>
      json ? { add: () => undefined, stop: () => undefined } : startProgress(io.stderr, label, totalBytes),
  }
}

/** One line: what failed, and what to do about it. Never a stack. */
export function reportError(io: Pick<Io, 'stderr'>, json: boolean, error: unknown): void {
  const body = isAppError(error) ? errorBody(error) : { code: 'internal', message: messageOf(error) }
  if (json) {
    io.stderr.write(`${JSON.stringify(body)}\n`)
    return
  }
  const hint = 'hint' in body && body.hint !== undefined ? `${separator(body.hint)}${printable(body.hint)}` : ''
  io.stderr.write(`stowage: ${printable(body.message)}${hint}\n`)
}

/** The gateway's hints are sentences, all others go on in the same one. */
const separator = (hint: string) => (/^[A-Z][a-z]* /.test(hint) ? '. ' : '; ')

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
