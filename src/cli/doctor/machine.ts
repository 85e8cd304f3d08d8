import { version } from 'node:process'
import type { Config } from '../../config.ts'
import { isAppError } from '../../errors.ts'
import { openFilesMax } from '../../lib/open-files.ts'
import type { Io } from '../io.ts'
import { type Check, fail, ok, warn } from './check.ts'

const nodeMinimum = [20, 19] as const
const openFilesMin = 4096

/** `v20.19.0` and newer. */
export function checkNodeVersion(running: string = version): Check {
  const [major = 0, minor = 0] = running.replace(/^v/, '').split('.').map(Number)
  const enough = major > nodeMinimum[0] || (major === nodeMinimum[0] && minor >= nodeMinimum[1])
  if (enough) return ok('node.js', running)
  return fail('node.js', `${running} is too old`, `install Node.js ${nodeMinimum.join('.')} or newer`)
}

/** `limitsFile` is in the format of proc(5). */
export async function checkOpenFiles(limitsFile?: string): Promise<Check[]> {
  const soft = await openFilesMax(limitsFile)
  if (soft === undefined) return []
  if (soft >= openFilesMin) return [ok('open files', soft === Number.POSITIVE_INFINITY ? 'no limit' : `up to ${soft}`)]
  const hint = `raise it before a busy node starts: ulimit -n ${openFilesMin}`
  return [warn('open files', `at most ${soft}: every client and every stream of the store takes one`, hint)]
}

/** The server that `serve` would embed; looked for on this machine only. */
export async function checkServerBinary(io: Io, config: Config): Promise<Check[]> {
  if (config.nats.url !== undefined) return []
  try {
    const found = await io.findNatsServer(config.nats.serverBinary)
    return [ok('nats-server', `${found.version} at ${found.path} (found by ${found.foundBy})`)]
  } catch (error) {
    if (!isAppError(error)) throw error
    if (error.code === 'SERVER_NOT_FOUND' && config.nats.serverBinary === undefined) {
      return [warn('nats-server', 'none on this machine yet', '`stowage serve` fetches one at its first start')]
    }
    return [fail('nats-server', error.message, error.hint)]
  }
}
