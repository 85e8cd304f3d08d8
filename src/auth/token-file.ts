import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '../errors.ts'

const tokenFile = (dataDir: string): string => join(dataDir, 'admin.token')

/** Undefined when there is none. @throws AppError DATA_FOLDER_UNUSABLE when it cannot be read */
export async function readTokenFile(dataDir: string): Promise<string | undefined> {
  try {
    return (await readFile(tokenFile(dataDir), 'utf8')).trim() || undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new AppError('DATA_FOLDER_UNUSABLE', `cannot read ${tokenFile(dataDir)}`, { cause: error })
  }
}

/** Readable by its owner alone; never half written. @throws AppError DATA_FOLDER_UNUSABLE */
export async function writeTokenFile(dataDir: string, token: string): Promise<void> {
  const temporary = `${tokenFile(dataDir)}.new`
  try {
    await writeFile(temporary, `${token}\n`, { mode: 0o600 })
    await rename(temporary, tokenFile(dataDir))
  } catch (error) {
    throw new AppError('DATA_FOLDER_UNUSABLE', `cannot write ${tokenFile(dataDir)}`, { cause: error })
  }
}
