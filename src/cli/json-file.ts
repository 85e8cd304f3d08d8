import { readInput } from '../client/local-input.ts'
import { AppError } from '../errors.ts'
import { MiB } from '../lib/units.ts'
import type { Io } from './io.ts'

const bytesMax = MiB

/** A JSON document out of a file, or stdin for `-`. @throws AppError FILE_UNUSABLE | REQUEST_INVALID */
export async function readJsonFile(
  file: string,
  { io }: { readonly io: Pick<Io, 'stdin' | 'cwd' | 'signal'> },
): Promise<unknown> {
  const bytes = await readInput(file, bytesMax, io)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    const why = cause instanceof Error ? `: ${cause.message}` : ''
    throw new AppError('REQUEST_INVALID', `${file === '-' ? 'stdin' : file} is no JSON${why}`, { cause })
  }
}
