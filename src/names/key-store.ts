import type { KvBucket } from '../nats/kv-bucket.ts'

/** A private key as it is kept: sealed, and useless without the secret of the nodes. */
export interface StoredKey {
  /** What people call it. */
  readonly label: string
  /** Its IPNS name: base36 CIDv1. */
  readonly name: string
  /** base64 of nonce, tag and sealed key. */
  readonly sealed: string
  /** RFC 3339. */
  readonly time: string
  /** What it was made by; undefined where no id was given for that, and for keys of older versions. */
  readonly command?: KeyCommand
}

export interface KeyCommand {
  /** Of the command, as that of an event would be. */
  readonly id: string
  /** Digest of what was asked. */
  readonly asked: string
}

/** Keys that sign IPNS records, in KV `<domain>_keys`: the one thing here that no log may hold. */
export class KeyStore {
  readonly #bucket: KvBucket
  readonly #space: string

  constructor(bucket: KvBucket, space: string) {
    this.#bucket = bucket
    this.#space = space
  }

  /** Where somebody has deleted it. @returns how it is now @throws AppError STORE_UNAVAILABLE */
  async makeAnew(): Promise<string> {
    await this.#bucket.make()
    return 'it is there again, without the keys: import them from an export, or make new ones'
  }

  async get(label: string, signal: AbortSignal): Promise<StoredKey | undefined> {
    const record = await this.#bucket.get(this.#key(label), signal)
    return record === undefined || record.removed ? undefined : parsed(record.value)
  }

  /** In the order of their labels. */
  async list(signal: AbortSignal): Promise<StoredKey[]> {
    const records = await this.#bucket.getMatching(`${this.#space}.>`, signal)
    const keys = records.flatMap(({ value }) => parsed(value) ?? [])
    return keys.sort((a, b) => (a.label < b.label ? -1 : 1))
  }

  /** That this command has made. */
  async madeBy(id: string, signal: AbortSignal): Promise<StoredKey | undefined> {
    return (await this.list(signal)).find(({ command }) => command?.id === id)
  }

  /** @returns false when there is one of this label */
  async add(key: StoredKey, signal: AbortSignal): Promise<boolean> {
    const present = await this.#bucket.get(this.#key(key.label), signal)
    if (present !== undefined && !present.removed) return false
    const value = Buffer.from(JSON.stringify(key))
    return (await this.#bucket.write(this.#key(key.label), value, present?.seq ?? 0)) !== undefined
  }

  /** The bucket keeps one message a key: what was there is gone. @returns false when there is none */
  async remove(label: string, signal: AbortSignal): Promise<boolean> {
    const present = await this.#bucket.get(this.#key(label), signal)
    if (present === undefined || present.removed) return false
    return (await this.#bucket.write(this.#key(label), undefined, present.seq)) !== undefined
  }

  #key(label: string): string {
    return `${this.#space}.${label}`
  }
}

function parsed(value: Buffer): StoredKey | undefined {
  try {
    const key = JSON.parse(value.toString('utf8')) as Partial<StoredKey> | null
    const whole = typeof key?.label === 'string' && typeof key.name === 'string' && typeof key.sealed === 'string'
    return whole ? (key as StoredKey) : undefined
  } catch {
    return undefined
  }
}
