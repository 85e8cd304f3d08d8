import { randomUUID } from 'node:crypto'
import { readFile, rm, stat, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { pid } from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { AppError } from '../errors.ts'
import { writeDurably } from '../lib/durable-file.ts'
import { startTimeOf } from '../lib/process-identity.ts'

const heartbeatMs = 5_000
const heartbeatStaleMs = 30_000
/** Taking a stale lock over takes milliseconds; a guard older than this was left by a crash. */
const guardStaleMs = 10_000
/** Most tries at the lock, 10 ms each: together longer than a guard counts. */
const attemptsMax = 1_500

interface LockOwner {
  readonly pid: number
  /** As startTimeOf tells it. */
  readonly started: string | undefined
  readonly host: string
  /** Makes every lock another one, so that an owner knows its own. */
  readonly id: string
  /** Where its folder lies, and which one that is on its disk: a copy has another number. Locks of earlier versions lack both. */
  readonly path?: string
  readonly inode?: string
  /** RFC 3339. */
  readonly since?: string
}

export interface FolderLock {
  release(): Promise<void>
}

export interface LockOptions {
  /** As whom the lock is taken; for tests. */
  readonly host?: string
  /** How old the heartbeat of another host's lock must be before the lock counts as left behind. */
  readonly heartbeatStaleMs?: number
}

/**
 * Takes `node.lock` in a folder. A lock left by a process that has ended is taken over; on another host (a shared volume) only
 * the heartbeat can tell, so there it is after 30 s without one. A lock that came along with a copy of the folder is no different
 * from one that is held, so it is not taken over; the error says what it looks like and what to do.
 * @param path absolute, without symbolic links
 * @throws AppError DATA_FOLDER_LOCKED; the system's error when the folder cannot be written to
 */
export async function lockFolder(path: string, options: LockOptions = {}): Promise<FolderLock> {
  const file = join(path, 'node.lock')
  const host = options.host ?? hostname()
  const since = new Date().toISOString()
  const inode = await inodeOf(path)
  const owner: LockOwner = { pid, started: await startTimeOf(pid), host, id: randomUUID(), path, inode, since }
  const staleMs = options.heartbeatStaleMs ?? heartbeatStaleMs
  for (let attempt = 0; !(await create(file, `${JSON.stringify(owner)}\n`)); attempt++) {
    const held = await readOwner(file)
    const live = held !== undefined && (await isLive(file, held, host, staleMs))
    if (live || attempt === attemptsMax) throw locked(path, inode, held, host)
    await takeAway(file, held)
    await delay(10)
  }
  const heartbeat = setInterval(() => {
    const now = new Date()
    // The heartbeat is for other hosts only; without it the lock still holds here.
    utimes(file, now, now).catch(() => undefined)
  }, heartbeatMs)
  heartbeat.unref()
  return {
    release: async () => {
      clearInterval(heartbeat)
      if ((await readOwner(file))?.id === owner.id) await rm(file, { force: true })
    },
  }
}

/** Makes the file whole and at once. @returns false when there is one already */
async function create(file: string, text: string): Promise<boolean> {
  if (await isThere(file)) return false
  try {
    await writeDurably(file, text, { mode: 0o600, existing: 'keep' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Undefined when there is no lock, or one that is not whole: an earlier version's, being written or cut off by a crash. */
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
async function takeAway(file: string, stale: LockOwner | undefined): Promise<void> {
  const guard = `${file}.takeover`
  if (!(await create(guard, `${pid}\n`))) {
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

const isThere = async (file: string): Promise<boolean> => (await stat(file).catch(() => undefined)) !== undefined

/** Device and number of a folder: the same under every path that leads to it. */
async function inodeOf(path: string): Promise<string> {
  const { dev, ino } = await stat(path, { bigint: true })
  return `${dev}:${ino}`
}

function locked(path: string, inode: string, held: LockOwner | undefined, host: string): AppError {
  const lock = join(path, 'node.lock')
  if (held === undefined) {
    return new AppError('DATA_FOLDER_LOCKED', `the data folder ${path} is in use by another process`, {
      hint: `stop that node, or set STOWAGE_DATA to another folder; without a node on this folder remove ${lock}`,
    })
  }
  const since = held.since === undefined ? '' : ` since ${held.since}`
  const message = `the data folder ${path} is in use by process ${held.pid} on ${held.host}${since}`
  const elsewhere = held.path !== undefined && held.path !== path ? ` as ${held.path}` : ''
  if (held.host === host && held.inode !== undefined && held.inode !== inode) {
    return new AppError(
      'DATA_FOLDER_LOCKED',
      `${message}${elsewhere}, its lock says, but this is another folder: a copy of that`,
      {
        hint: `a copy that was made while its node ran may lack the last writes; to go on with it remove ${lock}, or copy again when that node is stopped`,
      },
    )
  }
  const further =
    held.host === host
      ? ''
      : `; where that node has ended, or this is a copy, wait ${heartbeatStaleMs / 1000} s or remove ${lock}`
  return new AppError('DATA_FOLDER_LOCKED', message + elsewhere, {
    hint: `stop that node, or set STOWAGE_DATA to another folder${further}`,
  })
}
