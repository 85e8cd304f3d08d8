import { readFile, rm } from 'node:fs/promises'
import { homedir, platform } from 'node:os'
import { join, resolve } from 'node:path'
import type { Config } from '../config.ts'
import { AppError } from '../errors.ts'
import { writeDurably } from '../lib/durable-file.ts'
import { makeFolder } from '../lib/make-folder.ts'

/** What a running node tells clients of the same user on the same machine. */
export interface NodeAddress {
  readonly apiUrl: string
  readonly gatewayUrl: string
  /** Absolute. */
  readonly dataDir: string
  readonly pid: number
}

/** Where a client finds its node, and where each part was learnt: for messages and `doctor`. */
export interface LocatedNode {
  readonly apiUrl: string
  readonly gatewayUrl: string
  readonly token: string | undefined
  readonly tokenSource: string | undefined
  readonly addressSource: string
  /** The data folder that commands on this machine look at; absolute. */
  readonly dataDir: string
}

export type Environment = Readonly<Record<string, string | undefined>>

const fileName = 'node.json'
export const tokenFileName = 'admin.token'

/** `$XDG_STATE_HOME/stowage/node.json`, by default under ~/.local/state; on macOS under ~/Library/Application Support. */
export function stateFile(env: Environment): string {
  const home = env.HOME ?? homedir()
  const darwin = env.XDG_STATE_HOME === undefined && platform() === 'darwin'
  const state = darwin
    ? join(home, 'Library', 'Application Support')
    : (env.XDG_STATE_HOME ?? join(home, '.local/state'))
  return join(state, 'stowage', fileName)
}

/**
 * Called by `serve` once both listeners answer. Written to the data folder and to the user's state folder, so that a
 * command finds the node from any folder. A state folder that cannot be written is no failure: @returns what was written
 */
export async function writeNodeAddress(address: NodeAddress, env: Environment): Promise<string[]> {
  const written: string[] = []
  for (const file of [join(address.dataDir, fileName), stateFile(env)]) {
    if (await replaceFile(file, address)) written.push(file)
  }
  return written
}

/** Called by `serve` on its way out. A file that another node has written since stays. */
export async function removeNodeAddress(address: NodeAddress, env: Environment): Promise<void> {
  for (const file of [join(address.dataDir, fileName), stateFile(env)]) {
    const current = await readNodeAddress(file)
    if (current?.pid === address.pid && current.dataDir === address.dataDir) await rm(file, { force: true })
  }
}

/**
 * Environment and flags first, then the data folder, then the user's state file, then the default ports.
 * A token found in a file is only for the node that the file belongs to: it is never sent to another machine's address.
 * @throws AppError FILE_UNUSABLE when a token file is there and cannot be read
 */
export async function locateNode(
  config: Config,
  env: Environment,
  options: { readonly cwd: string; readonly given: (name: 'DATA' | 'API_HOST' | 'API_PORT') => boolean },
): Promise<LocatedNode> {
  const dataDir = resolve(options.cwd, config.dataDir)
  const inFolder = await readNodeAddress(join(dataDir, fileName))
  const running = inFolder ?? (options.given('DATA') ? undefined : await readNodeAddress(stateFile(env)))
  const named = options.given('API_HOST') || options.given('API_PORT')
  const found = named ? undefined : running
  const apiUrl = config.apiUrl ?? found?.apiUrl ?? listenUrl(config.api)
  const gatewayUrl = config.gatewayUrl ?? found?.gatewayUrl ?? listenUrl(config.gateway)
  const addressSource = sourceOf(config, named, inFolder !== undefined, running !== undefined)
  const base = {
    apiUrl: trimmed(apiUrl),
    gatewayUrl: trimmed(gatewayUrl),
    addressSource,
    dataDir: running?.dataDir ?? dataDir,
  }
  if (config.token !== undefined) return { ...base, token: config.token, tokenSource: 'STOWAGE_TOKEN' }
  if (!isLoopback(apiUrl) && running?.apiUrl !== apiUrl) return { ...base, token: undefined, tokenSource: undefined }
  for (const folder of new Set([dataDir, ...(running === undefined ? [] : [running.dataDir])])) {
    const file = join(folder, tokenFileName)
    const token = await readToken(file)
    if (token !== undefined) return { ...base, token, tokenSource: file }
  }
  return { ...base, token: undefined, tokenSource: undefined }
}

export async function readNodeAddress(file: string): Promise<NodeAddress | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(file, 'utf8'))
    return isNodeAddress(value) ? value : undefined
  } catch {
    // Absent, unreadable or half a file: the address is a convenience, the defaults remain.
    return undefined
  }
}

async function readToken(file: string): Promise<string | undefined> {
  try {
    const token = (await readFile(file, 'utf8')).trim()
    return token === '' ? undefined : token
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw new AppError('FILE_UNUSABLE', `the admin token in ${file} cannot be read (${code})`, {
      cause,
      hint: 'run as the user that started the node, or set STOWAGE_TOKEN',
    })
  }
}

function isNodeAddress(value: unknown): value is NodeAddress {
  if (typeof value !== 'object' || value === null) return false
  const { apiUrl, gatewayUrl, dataDir, pid } = value as Partial<Record<keyof NodeAddress, unknown>>
  return [apiUrl, gatewayUrl].every(isUrl) && typeof dataDir === 'string' && typeof pid === 'number'
}

function isUrl(value: unknown): boolean {
  return typeof value === 'string' && URL.canParse(value)
}

async function replaceFile(file: string, address: NodeAddress): Promise<boolean> {
  try {
    await makeFolder(resolve(file, '..'), 0o700)
    await writeDurably(file, `${JSON.stringify(address)}\n`, { mode: 0o600 })
    return true
  } catch {
    // A read-only home (containers) is common; the node must start all the same.
    return false
  }
}

function listenUrl(listen: { readonly host: string; readonly port: number }): string {
  const anyHost = listen.host === '0.0.0.0' || listen.host === '::' || listen.host === ''
  const host = anyHost ? '127.0.0.1' : listen.host.includes(':') ? `[${listen.host}]` : listen.host
  return `http://${host}:${listen.port}`
}

function sourceOf(config: Config, named: boolean, inFolder: boolean, running: boolean): string {
  if (config.apiUrl !== undefined) return 'STOWAGE_API_URL'
  if (named) return 'STOWAGE_API_HOST and STOWAGE_API_PORT'
  if (inFolder) return 'the data folder'
  return running ? "the user's state folder" : 'the default'
}

/** Whether the URL leads to this machine, so that a token from its disk may be sent. */
function isLoopback(url: string): boolean {
  const { hostname } = new URL(url)
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}

function trimmed(url: string): string {
  return url.replace(/\/+$/, '')
}
