import { resolve } from 'node:path'
import { readFile } from '../client/local-file.ts'
import { localEntry } from '../client/local-tree.ts'
import { AppError } from '../errors.ts'
import { collect } from '../lib/streams.ts'
import { MiB } from '../lib/units.ts'
import type { Io } from './io.ts'

const bytesMax = MiB

/** A JSON document out of a file, or stdin for `-`. @throws AppError FILE_UNUSABLE | UPLOAD_TOO_LARGE | REQUEST_INVALID */
export async function readJsonFile(file: string, { io }: { readonly io: Pick<Io, 'stdin' | 'cwd'> }): Promise<unknown> {
  const body = file === '-' ? (io.stdin as AsyncIterable<Uint8Array>) : readFile(localEntry(resolve(io.cwd, file), ''))
  const bytes = await collect(body, bytesMax)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    const why = cause instanceof Error ? `: ${cause.message}` : ''
    throw new AppError('REQUEST_INVALID', `${file === '-' ? 'stdin' : file} is no JSON${why}`, { cause })
  }
}
