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
 * Of several URLs the first that carries some speaks for all.
 * @throws AppError SETTING_INVALID for a file that cannot be read or holds something else
 */
export async function readAccess(url: string, config: NatsConfig): Promise<Access> {
  const urls = url.split(',').map((server) => new URL(server.trim()))
  const authenticators: Authenticator[] = []
  for (const { username, password } of urls.filter((server) => server.username !== '').slice(0, 1)) {
    const user = decodeURIComponent(username)
    if (password === '') authenticators.push(tokenAuthenticator(user))
    else authenticators.push(usernamePasswordAuthenticator(user, decodeURIComponent(password)))
  }
  if (config.user !== undefined) authenticators.push(usernamePasswordAuthenticator(config.user, config.password ?? ''))
  if (config.token !== undefined) authenticators.push(tokenAuthenticator(config.token))
  if (config.nkeyFile !== undefined) {
    const seed = (await readSetting('NATS_NKEY', config.nkeyFile)).toString('utf8').trim()
    authenticators.push(tried('NATS_NKEY', config.nkeyFile, nkeyAuthenticator(new TextEncoder().encode(seed))))
  }
  if (config.credsFile !== undefined) {
    const creds = await readSetting('NATS_CREDS', config.credsFile)
    authenticators.push(tried('NATS_CREDS', config.credsFile, credsAuthenticator(creds)))
  }
  return {
    servers: urls.map(({ protocol, host }) => `${protocol}//${host}`),
    authenticate: (nonce) => Object.assign({}, ...authenticators.map((authenticator) => authenticator(nonce) ?? {})),
    tls: await readTls(config),
  }
}

/** Uses it once, so that a file that holds something else is a clear error, and not one of the handshake. */
function tried(setting: string, path: string, authenticator: Authenticator): Authenticator {
  try {
    authenticator('nonce')
    return authenticator
  } catch (cause) {
    throw new AppError('SETTING_INVALID', `STOWAGE_${setting}: ${path} holds no usable key`, { cause })
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
    const code = (error as NodeJS.ErrnoException).code
    throw new AppError('SETTING_INVALID', `STOWAGE_${setting}: cannot read ${path} (${code})`, { cause: error })
  }
}
