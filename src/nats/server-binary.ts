import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { arch, homedir, platform as os } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { AppError } from '../errors.ts'
import { renameDurably, syncPath } from '../lib/durable-file.ts'
import { makeFolder } from '../lib/make-folder.ts'
import { type ServerPlatform, serverPlatform, serverVersionPinned } from './server-pins.ts'
import { causeOf, type Environment, type ServerSource, serverSources, sha256 } from './server-sources.ts'
import { minimumServerVersion, olderThan } from './server-version.ts'

const run = promisify(execFile)
const versionMsMax = 10_000
const installHint = `install nats-server ${minimumServerVersion} or newer (https://github.com/nats-io/nats-server/releases), or set STOWAGE_NATS_SERVER to its path`

export interface ServerBinary {
  /** What to run: a path, or `nats-server` when PATH has it. */
  readonly path: string
  readonly version: string
  readonly foundBy: 'setting' | 'PATH' | 'cache' | 'fetch'
}

export interface ServerBinaryOptions {
  /** STOWAGE_NATS_SERVER: nothing else is looked at. */
  readonly binary?: string | undefined
  /** The process's environment: PATH, HOME, XDG_CACHE_HOME, proxies. Children inherit the real one when it is not given. */
  readonly env?: Environment | undefined
  readonly cacheDir?: string
  readonly sources?: readonly ServerSource[]
  /** Called before the first download, which may take a minute. */
  readonly onFetch?: (source: string) => void
}

/**
 * The nats-server to run: the one that was named, else PATH's if it is new enough, else the cache's, else fetched into
 * the cache, once and verified. A machine with a cached one needs no network.
 * @throws AppError SERVER_NOT_FOUND with everything that was tried; SERVER_TOO_OLD for a named one that is too old
 */
export async function resolveServerBinary(options: ServerBinaryOptions = {}): Promise<ServerBinary> {
  if (options.binary !== undefined) return namedBinary(options.binary, options.env)
  const tried: string[] = []
  const onPath = await pathBinary(options.env, tried)
  if (onPath !== undefined) return onPath
  const platform = serverPlatform(os(), arch())
  if (platform === undefined) {
    tried.push(`nothing to fetch for ${os()}-${arch()}`)
  } else {
    const cacheDir = options.cacheDir ?? cacheFolder(options.env)
    const found =
      (await cachedBinary(cacheDir, platform, options.env, tried)) ??
      (await fetchedBinary(cacheDir, platform, options, tried))
    if (found !== undefined) return found
  }
  throw new AppError('SERVER_NOT_FOUND', `no nats-server to run; tried ${tried.join('; ')}`, { hint: installHint })
}

async function namedBinary(binary: string, env: Environment | undefined): Promise<ServerBinary> {
  const version = await versionOf(binary, env).catch((error: unknown) => {
    const message = `STOWAGE_NATS_SERVER names ${binary}, which cannot be run: ${causeOf(error)}`
    throw new AppError('SERVER_NOT_FOUND', message, { cause: error, hint: installHint })
  })
  if (olderThan(version, minimumServerVersion)) {
    const message = `${binary} is nats-server ${version}; ${minimumServerVersion} or newer is needed`
    throw new AppError('SERVER_TOO_OLD', message, { hint: installHint })
  }
  return { path: binary, version, foundBy: 'setting' }
}

async function pathBinary(env: Environment | undefined, tried: string[]): Promise<ServerBinary | undefined> {
  try {
    const version = await versionOf('nats-server', env)
    if (!olderThan(version, minimumServerVersion)) return { path: 'nats-server', version, foundBy: 'PATH' }
    tried.push(`PATH (nats-server ${version} is older than ${minimumServerVersion})`)
  } catch (error) {
    tried.push(`PATH (${causeOf(error)})`)
  }
  return undefined
}

/** A file's name ends with its SHA-256: so a broken one is seen, and every install is one atomic rename. */
const cachedName = (platform: ServerPlatform, sum = '') => `nats-server-${serverVersionPinned}-${platform}-${sum}`

async function cachedBinary(
  cacheDir: string,
  platform: ServerPlatform,
  env: Environment | undefined,
  tried: string[],
): Promise<ServerBinary | undefined> {
  const names = await readdir(cacheDir).catch(() => [])
  const reasons: string[] = []
  for (const name of names.filter((name) => name.startsWith(cachedName(platform)))) {
    const path = join(cacheDir, name)
    try {
      if (cachedName(platform, sha256(await readFile(path))) !== name) throw new Error('broken')
      return { path, version: await versionOf(path, env), foundBy: 'cache' }
    } catch (error) {
      reasons.push(`${name}: ${causeOf(error)}`)
    }
  }
  tried.push(`cache ${cacheDir} (${reasons.length === 0 ? 'none there' : reasons.join(', ')})`)
  return undefined
}

async function fetchedBinary(
  cacheDir: string,
  platform: ServerPlatform,
  options: ServerBinaryOptions,
  tried: string[],
): Promise<ServerBinary | undefined> {
  for (const source of options.sources ?? serverSources) {
    let folder: string | undefined
    try {
      await makeFolder(cacheDir)
      // Within the cache folder, so that the rename stays on one file system.
      folder = await mkdtemp(join(cacheDir, '.fetch-'))
      options.onFetch?.(source.name)
      const fetched = await source.fetch(folder, platform, options.env)
      return await install(fetched, cacheDir, platform, options.env)
    } catch (error) {
      tried.push(`${source.name} (${causeOf(error)})`)
    } finally {
      if (folder !== undefined) await rm(folder, { recursive: true, force: true })
    }
  }
  return undefined
}

/** Two at once write the same bytes under the same name: whoever is last changes nothing. */
async function install(
  fetched: string,
  cacheDir: string,
  platform: ServerPlatform,
  env: Environment | undefined,
): Promise<ServerBinary> {
  await chmod(fetched, 0o755)
  const version = await versionOf(fetched, env)
  if (version !== serverVersionPinned) throw new Error(`it is version ${version}, not ${serverVersionPinned}`)
  await syncPath(fetched)
  const path = join(cacheDir, cachedName(platform, sha256(await readFile(fetched))))
  await renameDurably(fetched, path)
  return { path, version, foundBy: 'fetch' }
}

const busyTriesMax = 20
const busyPauseMs = 50

/**
 * A file that was just written cannot be run as long as somebody has it open to write, and a process that is being started
 * elsewhere in this one holds for a moment whatever was open then (ETXTBSY).
 */
async function runnable<T>(start: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await start()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ETXTBSY' || tries >= busyTriesMax) throw error
      await delay(busyPauseMs)
    }
  }
}

/** `nats-server: v2.15.1` → `2.15.1`. @throws Error in a few words */
async function versionOf(binary: string, env: Environment | undefined): Promise<string> {
  const options = { timeout: versionMsMax, ...(env === undefined ? {} : { env: { ...env } }) }
  const { stdout } = await runnable(() => run(binary, ['--version'], options)).catch((error: NodeJS.ErrnoException) => {
    throw new Error(runFailures[error.code ?? ''] ?? `it does not start (${error.code ?? error.message})`, {
      cause: error,
    })
  })
  const version = /^nats-server: v(\d+\.\d+\.\d+\S*)/m.exec(stdout)?.[1]
  if (version === undefined) throw new Error('it is not a nats-server')
  return version
}

const runFailures: Readonly<Record<string, string>> = {
  ENOENT: 'not found',
  EACCES: 'not executable',
  ENOEXEC: 'not an executable of this machine',
}

function cacheFolder(env: Environment | undefined): string {
  if (os() === 'darwin') return join(homedir(), 'Library', 'Caches', 'stowage')
  const xdg = env?.XDG_CACHE_HOME
  // The XDG specification: a relative path is to be ignored.
  return join(xdg?.startsWith('/') ? xdg : join(homedir(), '.cache'), 'stowage')
}
