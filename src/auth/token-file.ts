import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '../errors.ts'
import { writeDurably } from '../lib/durable-file.ts'
import type { TokenFile } from './token.ts'

/** Readable by its owner alone; never half written. @throws AppError DATA_FOLDER_UNUSABLE, from every method */
export function tokenFile(dataDir: string, name = 'admin.token'): TokenFile {
  const path = join(dataDir, name)
  const failed = (verb: string, cause: unknown): AppError =>
    new AppError('DATA_FOLDER_UNUSABLE', `cannot ${verb} ${path} (${(cause as NodeJS.ErrnoException).code})`, {
      cause,
      hint: 'the node must own its data folder',
    })
  return {
    read: async () => {
      try {
        const text = (await readFile(path, 'utf8')).trim()
        // A power cut can leave an empty file, or one of NUL bytes.
        return /^[\x21-\x7e]+$/.test(text) ? text : ''
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw failed('read', error)
      }
    },
    write: async (token) => {
      try {
        await writeDurably(path, `${token}\n`, { mode: 0o600 })
      } catch (error) {
        throw failed('write', error)
      }
    },
    remove: async () => {
      await rm(path, { force: true }).catch((error: unknown) => {
        throw failed('remove', error)
      })
    },
  }
}
