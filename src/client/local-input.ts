import { resolve } from 'node:path'
import { AppError } from '../errors.ts'
import { collect } from '../lib/streams.ts'
import { formatBytes } from '../lib/units.ts'
import { readFile } from './local-file.ts'
import { localEntry } from './local-tree.ts'
import { isPipe, readPipe } from './pipes.ts'

/** Where paths of a command line are looked for. */
export interface InputOptions {
  readonly cwd: string
  readonly stdin: NodeJS.ReadableStream
  readonly signal: AbortSignal
}

export interface LocalInput {
  /** Undefined where only its end says. */
  readonly bytes: number | undefined
  /** Nothing is opened before it is read. */
  readonly body: AsyncIterable<Uint8Array>
}

/** `-`, or what a shell calls the same: opened a second time it would be another stream, or none. */
export function isStdin(file: string): boolean {
  return file === '-' || /^\/(?:dev\/stdin|dev\/fd\/0|proc\/self\/fd\/0)$/.test(file)
}

/**
 * What a path of the command line has in it: a file, a pipe (a FIFO, or a shell's `<(…)`) or stdin.
 * @throws AppError PATH_NOT_FOUND | FILE_UNUSABLE | REQUEST_INVALID for a directory
 */
export function localInput(file: string, options: InputOptions): LocalInput {
  const stream = streamInput(file, options)
  if (stream !== undefined) return stream
  const entry = localEntry(resolve(options.cwd, file), '')
  if (entry.kind === 'directory') throw new AppError('REQUEST_INVALID', `${file} is a directory`)
  return { bytes: entry.size, body: readFile(entry) }
}

/** Undefined for what is neither a pipe nor stdin. */
export function streamInput(file: string, { cwd, stdin, signal }: InputOptions): LocalInput | undefined {
  if (isStdin(file)) return { bytes: undefined, body: stdin as AsyncIterable<Uint8Array> }
  const path = resolve(cwd, file)
  return isPipe(path) ? { bytes: undefined, body: readPipe(path, signal) } : undefined
}

/** Reads all of a file, a pipe or stdin. @throws AppError as `localInput`; FILE_UNUSABLE when there is more than `bytesMax` */
export async function readInput(file: string, bytesMax: number, options: InputOptions): Promise<Uint8Array> {
  const { bytes, body } = localInput(file, options)
  if (bytes !== undefined && bytes > bytesMax) throw tooLarge(file, bytesMax)
  return await collect(body, bytesMax).catch((error: unknown) => {
    throw error instanceof RangeError ? tooLarge(file, bytesMax) : error
  })
}

function tooLarge(file: string, bytesMax: number): AppError {
  return new AppError(
    'FILE_UNUSABLE',
    `${file} is larger than ${formatBytes(bytesMax)}, so it is not what is asked for`,
  )
}
