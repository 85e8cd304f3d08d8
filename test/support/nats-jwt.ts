import { createHash } from 'node:crypto'
import { nkeys } from '@nats-io/transport-node'

type KeyPair = ReturnType<typeof nkeys.createUser>

const decoder = new TextDecoder()
const seedOf = (pair: KeyPair): string => decoder.decode(pair.getSeed())
export const base64url = (text: string): string => Buffer.from(text).toString('base64url')

/** A NATS JWT, version 2, as `nsc` makes it. */
function sign(issuer: KeyPair, subject: KeyPair, name: string, nats: object): string {
  const claims = { iss: issuer.getPublicKey(), sub: subject.getPublicKey(), name, iat: 1_700_000_000, nats }
  const jti = createHash('sha256').update(JSON.stringify(claims)).digest('hex')
  const head = base64url(JSON.stringify({ typ: 'JWT', alg: 'ed25519-nkey' }))
  const body = `${head}.${base64url(JSON.stringify({ jti, ...claims }))}`
  return `${body}.${Buffer.from(issuer.sign(Buffer.from(body))).toString('base64url')}`
}

/** An operator with one account that may use JetStream: the server's configuration, and a credentials file of a user. */
export function operatorSetup(): { readonly config: string; readonly creds: string } {
  const operator = nkeys.createOperator()
  const system = nkeys.createAccount()
  const account = nkeys.createAccount()
  const user = nkeys.createUser()
  const any = { subs: -1, data: -1, payload: -1 }
  const limits = { ...any, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 }
  const jetStream = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 }
  const accountJwt = (pair: KeyPair, name: string, own: object) =>
    sign(operator, pair, name, { type: 'account', version: 2, limits: { ...limits, ...own } })
  const userJwt = sign(account, user, 'stowage', { type: 'user', version: 2, pub: {}, sub: {}, ...any })
  return {
    config: [
      `operator: ${sign(operator, operator, 'test', { type: 'operator', version: 2 })}`,
      `system_account: ${system.getPublicKey()}`,
      'resolver: MEMORY',
      'resolver_preload: {',
      `  ${system.getPublicKey()}: ${accountJwt(system, 'SYS', {})}`,
      `  ${account.getPublicKey()}: ${accountJwt(account, 'A', jetStream)}`,
      '}',
    ].join('\n'),
    creds: [
      '-----BEGIN NATS USER JWT-----',
      userJwt,
      '------END NATS USER JWT------',
      '',
      '-----BEGIN USER NKEY SEED-----',
      seedOf(user),
      '------END USER NKEY SEED------',
      '',
    ].join('\n'),
  }
}

/** A user by nkey: what the server must know, and the seed. */
export function nkeyUser(): { readonly publicKey: string; readonly seed: string } {
  const user = nkeys.createUser()
  return { publicKey: user.getPublicKey(), seed: seedOf(user) }
}
