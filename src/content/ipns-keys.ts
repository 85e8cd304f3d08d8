import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  scryptSync,
  sign,
} from 'node:crypto'
import * as Digest from 'multiformats/hashes/digest'
import type { Abortable } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'
import type { Context } from '../events/envelope.ts'
import type { KeyStore, StoredKey } from '../names/key-store.ts'
import { askedDigest, eventIdOf, idTaken } from './command-id.ts'
import { keyNameOf } from './ipns-name.ts'
import { ed25519Protobuf } from './ipns-public-key.ts'

/** A key without what is private about it. */
export interface KeyInfo {
  readonly label: string
  /** Its IPNS name. */
  readonly name: string
  readonly time: string
}

export interface Signer {
  readonly name: string
  sign(bytes: Uint8Array): Uint8Array
}

/** A key, and whether the same command had made it before. */
export interface MadeKey extends KeyInfo {
  readonly repeated: boolean
}

export interface Making extends Abortable {
  /** Makes it once, however often it is asked: its id stands for what it asks, as those of commands in the log do. */
  readonly context: Context
}

/** Ed25519 keys that sign IPNS records here. They leave a node only by `export`. */
export interface IpnsKeys {
  /**
   * @throws AppError REQUEST_INVALID (the label; no secret), REVISION_CONFLICT (there is one of this label), COMMAND_ID_TAKEN
   */
  generate(label: string, options: Making): Promise<MadeKey>
  /** @param pem PKCS#8, not encrypted @throws as generate; REQUEST_INVALID for what is no Ed25519 key */
  import(label: string, pem: string, options: Making): Promise<MadeKey>
  /** PKCS#8 in PEM, not encrypted. @throws AppError NAME_NOT_FOUND */
  export(label: string, options: Abortable): Promise<string>
  list(options: Abortable): Promise<readonly KeyInfo[]>
  /** What it has signed holds as long as it says. @throws AppError NAME_NOT_FOUND */
  remove(label: string, options: Abortable): Promise<void>
  /** Of a label, or of an IPNS name. @throws AppError NAME_NOT_FOUND */
  signer(labelOrName: string, options: Abortable): Promise<Signer>
  /** Without a secret there is nothing to unseal keys with. */
  readonly usable: boolean
}

export interface IpnsKeysParts {
  readonly store: KeyStore
  /** What the keys are sealed under; the same at all nodes of the domain. Undefined = there are no keys here. */
  readonly secret: string | undefined
  /** Makes equal secrets of different domains unlike. */
  readonly domain: string
  /** Whether a command of the log had this id. */
  readonly isIdUsed?: (id: string, signal: AbortSignal) => Promise<boolean>
}

const nonceBytes = 12
const tagBytes = 16
const cipher = 'aes-256-gcm'

export function createIpnsKeys({ store, secret, domain, isIdUsed = async () => false }: IpnsKeysParts): IpnsKeys {
  let sealingKey: Buffer | undefined
  /** Slow on purpose (a secret may be a password), so made once, when it is needed. */
  const unlocked = (): Buffer => {
    if (secret === undefined) {
      throw new AppError('REQUEST_INVALID', 'this node has no secret to seal keys under', {
        hint: 'set STOWAGE_KEYS_SECRET, the same at all nodes of the domain; where keys.secret in the data folder was lost, put it back',
      })
    }
    sealingKey ??= scryptSync(secret, `stowage keys ${domain}`, 32)
    return sealingKey
  }

  /** @param imported undefined = any key will do, and one is made */
  async function make(label: string, imported: KeyObject | undefined, { context, signal }: Making): Promise<MadeKey> {
    const secretNow = unlocked()
    const id = eventIdOf(context)
    const asked = askedDigest(context, { verb: 'key', label, name: imported === undefined ? null : nameOf(imported) })
    const before = async (): Promise<MadeKey | undefined> => {
      if (context.fresh === true) return undefined
      const made = await store.madeBy(id, signal)
      if (made === undefined) return undefined
      if (made.command?.asked !== asked) throw idTaken()
      return { label: made.label, name: made.name, time: made.time, repeated: true }
    }
    const earlier = await before()
    if (earlier !== undefined) return earlier
    if (context.fresh !== true && (await isIdUsed(id, signal))) throw idTaken()
    const key = imported ?? generateKeyPairSync('ed25519').privateKey
    const [name, time] = [nameOf(key), new Date().toISOString()]
    const sealed = seal(secretNow, key.export({ format: 'der', type: 'pkcs8' }), label, name)
    const command = context.fresh === true ? {} : { command: { id, asked } }
    if (await store.add({ label, name, sealed, time, ...command }, signal))
      return { label, name, time, repeated: false }
    // The same command may have been faster, here or at another node.
    const meanwhile = await before()
    if (meanwhile !== undefined) return meanwhile
    throw new AppError('REVISION_CONFLICT', `there is a key ${label} already`, { hint: 'choose another name for it' })
  }

  async function open(label: string, { signal }: Abortable): Promise<KeyObject> {
    return unseal(unlocked(), (await store.get(label, signal)) ?? notThere(label))
  }

  return {
    usable: secret !== undefined,
    generate: async (label, options) => {
      checkLabel(label)
      return make(label, undefined, options)
    },
    import: async (label, pem, options) => {
      checkLabel(label)
      return make(label, readPem(pem), options)
    },
    export: async (label, options) => (await open(label, options)).export({ format: 'pem', type: 'pkcs8' }).toString(),
    list: async ({ signal }) => (await store.list(signal)).map(({ label, name, time }) => ({ label, name, time })),
    remove: async (label, { signal }) => {
      if (!(await store.remove(label, signal))) notThere(label)
    },
    signer: async (labelOrName, { signal }) => {
      const all = await store.list(signal)
      const stored = all.find(({ label, name }) => label === labelOrName || name === labelOrName)
      const key = unseal(unlocked(), stored ?? notThere(labelOrName))
      return { name: nameOf(key), sign: (bytes) => sign(null, bytes, key) }
    },
  }
}

function checkLabel(label: string): void {
  if (/^[A-Za-z0-9_-]{1,40}$/.test(label)) return
  throw new AppError('REQUEST_INVALID', 'a key is called by 1-40 letters, digits, "_" or "-"')
}

function notThere(label: string): never {
  throw new AppError('NAME_NOT_FOUND', `there is no key ${JSON.stringify(label.slice(0, 100))}`, {
    hint: 'make one with `stowage key gen`',
  })
}

function nameOf(key: KeyObject): string {
  const raw = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32)
  return keyNameOf(Digest.create(0, ed25519Protobuf(raw)))
}

function readPem(pem: string): KeyObject {
  try {
    const key = createPrivateKey(pem)
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch {
    // Its reason could tell of the key.
    throw new AppError('REQUEST_INVALID', 'this is no private key in PEM (PKCS#8, not encrypted)')
  }
  throw new AppError('REQUEST_INVALID', 'only Ed25519 keys sign here')
}

/** What the sealed bytes belong to: another label's or name's key in their place is noticed. */
const about = (label: string, name: string): Buffer => Buffer.from(`${label} ${name}`)

function seal(secret: Buffer, plain: Uint8Array, label: string, name: string): string {
  const nonce = randomBytes(nonceBytes)
  const sealing = createCipheriv(cipher, secret, nonce).setAAD(about(label, name))
  const sealed = Buffer.concat([sealing.update(plain), sealing.final()])
  return Buffer.concat([nonce, sealing.getAuthTag(), sealed]).toString('base64')
}

function unseal(secret: Buffer, { label, name, sealed }: StoredKey): KeyObject {
  const bytes = Buffer.from(sealed, 'base64')
  try {
    const unsealing = createDecipheriv(cipher, secret, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes })
    unsealing.setAAD(about(label, name)).setAuthTag(bytes.subarray(nonceBytes, nonceBytes + tagBytes))
    const plain = Buffer.concat([unsealing.update(bytes.subarray(nonceBytes + tagBytes)), unsealing.final()])
    return createPrivateKey({ key: plain, format: 'der', type: 'pkcs8' })
  } catch {
    throw new AppError('REQUEST_INVALID', `the key ${label} was sealed under another secret, or is damaged`, {
      hint: 'the secret is STOWAGE_KEYS_SECRET, or keys.secret in the data folder',
    })
  }
}
