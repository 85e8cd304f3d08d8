import { readFile } from 'node:fs/promises'
import type { Auth, Authenticator } from '@nats-io/transport-node'
import {
  credsAuthenticator,
  nkeyAuthenticator,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from '@nats-io/transport-node'
import type { NatsConfig } from '../config.ts'
import { AppError } from '../errors.ts'

/** Where the servers are and what we show them; the same for both connections. */
export interface Access {
  /** `nats://host:port`, without credentials. */
  readonly servers: readonly string[]
  /** Merged into CONNECT, given the server's nonce. */
  readonly authenticate: (nonce: string | undefined) => Auth
  readonly tls: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer } | undefined
}

/**
 * Credentials may stand in the URL (`nats://user:password@host`, `nats://token@host`) or in settings, which win.
 * @throws AppError SETTING_INVALID for a file that cannot be read
 */
export async function readAccess(url: string, config: NatsConfig): Promise<Access> {
  const urls = url.split(',').map((server) => new URL(server.trim()))
  const authenticators: Authenticator[] = []
  for (const { username, password } of urls.slice(0, 1)) {
    if (username === '') continue
    const user = decodeURIComponent(username)
    if (password === '') authenticators.push(tokenAuthenticator(user))
    else authenticators.push(usernamePasswordAuthenticator(user, decodeURIComponent(password)))
  }
  if (config.user !== undefined) authenticators.push(usernamePasswordAuthenticator(config.user, config.password ?? ''))
  if (config.token !== undefined) authenticators.push(tokenAuthenticator(config.token))
  if (config.nkeyFile !== undefined) {
    const seed = (await readSetting('NATS_NKEY', config.nkeyFile)).toString('utf8').trim()
    authenticators.push(nkeyAuthenticator(new TextEncoder().encode(seed)))
  }
  if (config.credsFile !== undefined) {
    authenticators.push(credsAuthenticator(await readSetting('NATS_CREDS', config.credsFile)))
  }
  return {
    servers: urls.map(({ protocol, host }) => `${protocol}//${host}`),
    authenticate: (nonce) => Object.assign({}, ...authenticators.map((authenticator) => authenticator(nonce) ?? {})),
    tls: await readTls(config),
  }
}

async function readTls({ tlsCaFile, tlsCertFile, tlsKeyFile }: NatsConfig): Promise<Access['tls']> {
  if (tlsCaFile === undefined && tlsCertFile === undefined && tlsKeyFile === undefined) return undefined
  return {
    ...(tlsCaFile === undefined ? {} : { ca: await readSetting('NATS_TLS_CA', tlsCaFile) }),
    ...(tlsCertFile === undefined ? {} : { cert: await readSetting('NATS_TLS_CERT', tlsCertFile) }),
    ...(tlsKeyFile === undefined ? {} : { key: await readSetting('NATS_TLS_KEY', tlsKeyFile) }),
  }
}

async function readSetting(setting: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw new AppError('SETTING_INVALID', `STOWAGE_${setting}: cannot read ${path}: ${String(error)}`, { cause: error })
  }
}
