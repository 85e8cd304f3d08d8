import type { Logger } from 'pino'
import { type KeysSecret, settleKeysSecret } from './keys-secret.ts'
import { type AdminToken, settleAdminToken, type TokenHashes } from './token.ts'
import { tokenFile } from './token-file.ts'

export interface SecretParts {
  readonly dataDir: string
  /** The server is our own: no other node has secrets in it. */
  readonly embedded: boolean
  readonly hashes: TokenHashes
  /** Whether any key is sealed already. */
  readonly hasKeys: () => Promise<boolean>
  readonly log: Pick<Logger, 'warn' | 'error'>
}

export interface Secrets {
  readonly adminToken: AdminToken
  /** Undefined = no key can be opened or made here. */
  readonly keysSecret: string | undefined
}

/**
 * The two secrets that lie in the data folder, `admin.token` and `keys.secret`: found, given, made, or made anew. What was wrong
 * with a file is logged, since the greeting is seen by nobody who has a service manager.
 * @throws AppError DATA_FOLDER_UNUSABLE | STORE_UNAVAILABLE
 */
export async function settleSecrets(
  given: { readonly token: string | undefined; readonly keysSecret: string | undefined },
  { dataDir, embedded, hashes, hasKeys, log }: SecretParts,
): Promise<Secrets> {
  const secretFile = embedded ? tokenFile(dataDir, 'keys.secret') : undefined
  const keys = await settleKeysSecret(given.keysSecret, secretFile, hasKeys)
  tellKeysSecret(keys, dataDir, log)
  const adminToken = await settleAdminToken(hashes, given.token, tokenFile(dataDir), embedded)
  if (adminToken.kind === 'renewed') {
    log.warn({ dataDir }, 'admin.token was empty: a new admin token was made, and the one before is valid no more')
  } else if (adminToken.kind === 'damaged') {
    log.error(
      { dataDir },
      'admin.token does not hold the valid admin token; set STOWAGE_TOKEN to that one, or to a new one',
    )
  }
  return { adminToken, keysSecret: keys.secret }
}

function tellKeysSecret(keys: KeysSecret, dataDir: string, log: SecretParts['log']): void {
  if (keys.kind === 'renewed')
    log.warn({ dataDir }, 'keys.secret was empty and no key was sealed yet: it was made anew')
  if (keys.kind !== 'lost') return
  log.error(
    { dataDir },
    'keys.secret is empty or gone, so that no key can be used and no IPNS record signed: put it back from a backup, or set STOWAGE_KEYS_SECRET; when all keys are removed (stowage key rm) the next start makes a new one',
  )
}
