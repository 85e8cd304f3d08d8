import { randomUUID } from 'node:crypto'
import { mkdir, readFile, realpath, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { pid } from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { AppError } from '../errors.ts'
import { startTimeOf } from '../lib/process-identity.ts'

const heartbeatMs = 5_000
const heartbeatStaleMs = 30_000
/** Taking a stale lock over takes milliseconds; a guard older than this was left by a crash. */
const guardStaleMs = 10_000
/** At 10 ms each: longer than a guard counts. */
const attemptsMax = 1_500

interface LockOwner {
  readonly pid: number
  /** As startTimeOf tells it. */
  readonly started: string | undefined
  readonly host: string
  /** Makes every lock another one, so that an owner knows its own. */
  readonly id: string
}

export interface DataFolder {
  /** Absolute, without symbolic links: so it is spelled the same at every start. */
  readonly path: string
  /** Gives the lock back. */
  close(): Promise<void>
}

export interface DataFolderOptions {
  /** As whom the lock is taken; for tests. */
  readonly host?: string
  /** How old the heartbeat of another host's lock must be before the lock counts as left behind. */
  readonly heartbeatStaleMs?: number
}

/**
 * Makes the folder (0700) if need be and takes its lock, `node.lock`: one node a folder, since two servers on one store
 * would destroy it. A lock left by a process that has ended is taken over; on another host (a shared volume) only the
 * heartbeat can tell, so there it is after 30 s without one.
 * @throws AppError DATA_FOLDER_UNUSABLE, DATA_FOLDER_LOCKED
 */
export async function openDataFolder(folder: string, options: DataFolderOptions = {}): Promise<DataFolder> {
  const path = await makeFolder(folder)
  const file = join(path, 'node.lock')
  const host = options.host ?? hostname()
  const owner: LockOwner = { pid, started: await startTimeOf(pid), host, id: randomUUID() }
  const staleMs = options.heartbeatStaleMs ?? heartbeatStaleMs
  for (let attempt = 0; !(await create(file, owner, path)); attempt++) {
    const held = await readOwner(file)
    const live = held !== undefined && (await isLive(file, held, host, staleMs))
    if (live || attempt === attemptsMax) throw locked(path, held)
    await takeAway(file, held, path)
    await delay(10)
  }
  const heartbeat = setInterval(() => {
    const now = new Date()
    // The heartbeat is for other hosts only; without it the lock still holds here.
    utimes(file, now, now).catch(() => undefined)
  }, heartbeatMs)
  heartbeat.unref()
  return {
    path,
    close: async () => {
      clearInterval(heartbeat)
      if ((await readOwner(file))?.id === owner.id) await rm(file, { force: true })
    },
  }
}

async function makeFolder(folder: string): Promise<string> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    return await realpath(folder)
  } catch (error) {
    throw unusable(folder, error)
  }
}

/** False when there is a lock already. Being the first write, it also shows whether the folder can be written to. */
async function create(file: string, owner: LockOwner, folder: string): Promise<boolean> {
  try {
    await writeFile(file, `${JSON.stringify(owner)}\n`, { flag: 'wx', mode: 0o600 })
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw unusable(folder, error)
  }
}

/** Undefined when there is no lock, or one that is not whole: being written, or cut off by a crash. */
async function readOwner(file: string): Promise<LockOwner | undefined> {
  const text = await readFile(file, 'utf8').catch(() => '')
  try {
    const owner = JSON.parse(text) as LockOwner
    return Number.isSafeInteger(owner.pid) ? owner : undefined
  } catch {
    return undefined
  }
}

async function isLive(file: string, held: LockOwner, host: string, staleMs: number): Promise<boolean> {
  if (held.host === host) {
    const started = await startTimeOf(held.pid)
    return started !== undefined && (held.started === undefined || started === held.started)
  }
  const beat = await stat(file).catch(() => undefined)
  return beat !== undefined && Date.now() - beat.mtimeMs < staleMs
}

/**
 * Removes a lock that was found stale. Between the finding and the removal another process may have put its own lock
 * there: so only the holder of a guard file removes, after a second look.
 */
async function takeAway(file: string, stale: LockOwner | undefined, folder: string): Promise<void> {
  const guard = `${file}.takeover`
  try {
    await writeFile(guard, '', { flag: 'wx', mode: 0o600 })
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw unusable(folder, error)
    if (await isOlderThan(guard, guardStaleMs)) await rm(guard, { force: true })
    return
  }
  try {
    const held = await readOwner(file)
    // One that is not whole gets the time to become so.
    const same = stale === undefined ? held === undefined && (await isOlderThan(file, 1_000)) : held?.id === stale.id
    if (same) await rm(file, { force: true })
  } finally {
    await rm(guard, { force: true })
  }
}

async function isOlderThan(file: string, ageMs: number): Promise<boolean> {
  const found = await stat(file).catch(() => undefined)
  return found !== undefined && Date.now() - found.mtimeMs > ageMs
}

function locked(path: string, held: LockOwner | undefined): AppError {
  const who = held === undefined ? 'another process' : `process ${held.pid} on ${held.host}`
  const message = `the data folder ${path} is in use by ${who}`
  return new AppError('DATA_FOLDER_LOCKED', message, {
    hint: 'stop that node, or set STOWAGE_DATA to another folder',
  })
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left on the disk',
  EDQUOT: 'the disk quota is used up',
  EEXIST: 'it is not a folder',
  ENOTDIR: 'it is not a folder',
  ENOENT: 'it cannot be made',
}

function unusable(folder: string, error: unknown): AppError {
  const code = codeOf(error)
  const message = `the data folder ${folder} cannot be used: ${reasons[code] ?? code}`
  const hint =
    code === 'ENOSPC' || code === 'EDQUOT' ? 'free some space' : 'set STOWAGE_DATA to a folder that can be written to'
  return new AppError('DATA_FOLDER_UNUSABLE', message, { cause: error, hint })
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error)
