import { access, constants, readFile, stat, statfs } from 'node:fs/promises'
import { hostname, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { tokenFileName } from '../../client/node-address.ts'
import type { Config } from '../../config.ts'
import { startTimeOf } from '../../lib/process-identity.ts'
import { formatBytes } from '../../lib/units.ts'
import { type Check, fail, ok, warn } from './check.ts'

/** The folder, its lock, the token in it and the disk below it. `running`: a node answers on this machine. */
export async function checkDataFolder(config: Config, folder: string, running: boolean): Promise<Check[]> {
  return [
    await checkFolder(folder),
    ...(await checkLock(folder, running)),
    await checkToken(folder),
    ...(await checkKeysSecret(folder)),
    await checkDisk(folder, config.nats.diskReserveBytes),
  ]
}

async function checkFolder(folder: string): Promise<Check> {
  const name = 'data folder'
  const stats = await stat(folder).catch(() => undefined)
  const hint = 'choose another one with STOWAGE_DATA, or change its owner'
  if (stats === undefined) {
    const parent = await existingParent(folder)
    if (await isWritable(parent)) return ok(name, `${folder} is made at the first start`)
    return fail(name, `${folder} cannot be made: ${parent} may not be written by this user`, hint)
  }
  if (!stats.isDirectory()) return fail(name, `${folder} is no folder`, hint)
  if (!(await isWritable(folder))) return fail(name, `${folder} may not be written by this user`, hint)
  const { uid } = userInfo()
  if (uid >= 0 && stats.uid !== uid) return warn(name, `${folder} belongs to another user (uid ${stats.uid})`)
  return ok(name, folder)
}

/** Readable where the folder is: `node.lock` names the process that owns it. */
async function checkLock(folder: string, running: boolean): Promise<Check[]> {
  const text = await readFile(join(folder, 'node.lock'), 'utf8').catch(() => undefined)
  if (text === undefined) return []
  const owner = ownerOf(text)
  if (owner === undefined)
    return [warn('lock', `${join(folder, 'node.lock')} cannot be read`, 'the next start sorts it out')]
  if (owner.host !== hostname()) return [warn('lock', `held by process ${owner.pid} on ${owner.host}`)]
  const started = await startTimeOf(owner.pid)
  if (started === undefined || started !== owner.started) {
    return [ok('lock', `left by process ${owner.pid}, which has ended; the next start takes it over`)]
  }
  if (running) return [ok('lock', `held by process ${owner.pid}`)]
  return [warn('lock', `held by process ${owner.pid}, but no node answers`, 'wait for its start, or look at its log')]
}

function ownerOf(text: string): { readonly pid: number; readonly host: string; readonly started?: string } | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return undefined
    const { pid, host, started } = value as Readonly<Record<string, unknown>>
    if (typeof pid !== 'number' || typeof host !== 'string') return undefined
    return { pid, host, ...(typeof started === 'string' ? { started } : {}) }
  } catch {
    return undefined
  }
}

async function checkToken(folder: string): Promise<Check> {
  const name = 'admin token'
  const file = join(folder, tokenFileName)
  const stats = await stat(file).catch(() => undefined)
  if (stats === undefined) return ok(name, 'is made at the first start')
  if ((stats.mode & 0o077) !== 0) {
    return fail(
      name,
      `${file} can be read by other users (mode 0${(stats.mode & 0o777).toString(8)})`,
      `chmod 600 ${file}`,
    )
  }
  if (!(await isReadable(file))) return warn(name, `${file} is not readable by this user`, 'set STOWAGE_TOKEN to write')
  if (stats.size === 0) return fail(name, `${file} is empty`, 'start the node again, or set STOWAGE_TOKEN at its start')
  return ok(name, file)
}

async function checkKeysSecret(folder: string): Promise<Check[]> {
  const file = join(folder, 'keys.secret')
  const stats = await stat(file).catch(() => undefined)
  if (stats === undefined) return []
  if (stats.size > 0) return [ok('keys secret', file)]
  const hint = 'put it back from a backup; where no key was made yet the next start makes a new one'
  return [fail('keys secret', `${file} is empty: keys that were sealed under it cannot be used`, hint)]
}

async function checkDisk(folder: string, reserveBytes: number): Promise<Check> {
  const name = 'disk'
  const parent = await existingParent(folder)
  const { bavail, bsize } = await statfs(parent)
  const freeBytes = bavail * bsize
  const free = `${formatBytes(freeBytes)} free`
  const hint = 'free space, or move the data folder with STOWAGE_DATA'
  if (freeBytes < reserveBytes) {
    return fail(name, `${free}, less than the reserve of ${formatBytes(reserveBytes)}: uploads are refused`, hint)
  }
  if (freeBytes < 4 * reserveBytes) return warn(name, `${free}; uploads end at ${formatBytes(reserveBytes)}`, hint)
  return ok(name, free)
}

async function existingParent(folder: string): Promise<string> {
  const there = await stat(folder).then(
    () => true,
    () => false,
  )
  return there || dirname(folder) === folder ? folder : existingParent(dirname(folder))
}

function isWritable(path: string): Promise<boolean> {
  return may(path, constants.W_OK | constants.X_OK)
}

function isReadable(path: string): Promise<boolean> {
  return may(path, constants.R_OK)
}

async function may(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  )
}
