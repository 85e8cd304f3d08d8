import { SortedList } from '../lib/sorted-list.ts'
import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { nameOfKey } from './name.ts'
import { WatchedKeys } from './watched-keys.ts'

export interface NamePage {
  readonly names: readonly string[]
  /** To go on after; undefined on the last page. */
  readonly next: string | undefined
}

/** All names of a space in the order of their UTF-8 bytes; names only, some 100 bytes each. */
export class NameList {
  readonly #watched: WatchedKeys<SortedList>
  readonly #waitMs: number
  readonly #during: <T>(work: () => Promise<T>) => Promise<T>
  /** Some of the bucket cannot be read. */
  onUnreadable: () => void = () => undefined

  /** @param during refuses while the index may not be asked */
  constructor(
    nats: Nats,
    bucket: KvBucket,
    space: string,
    waitMs: number,
    during: <T>(work: () => Promise<T>) => Promise<T> = (work) => work(),
  ) {
    this.#waitMs = waitMs
    this.#during = during
    const prefix = `${space}.`
    this.#watched = new WatchedKeys(nats, bucket, {
      filter: `${prefix}>`,
      empty: () => new SortedList(),
      decode: (key) => {
        const name = nameOfKey(key.slice(prefix.length))
        return name === undefined ? undefined : toBytes(name)
      },
      onUnreadable: () => this.onUnreadable(),
    })
  }

  get size(): number {
    return this.#watched.keys.size
  }

  wrote(name: string, present: boolean, seq: number): void {
    this.#watched.wrote(toBytes(name), present, seq)
  }

  /** It is in the index, whatever was heard of it. */
  hold(name: string): void {
    this.#watched.hold(toBytes(name), true)
  }

  caughtUp(signal: AbortSignal): Promise<void> {
    return this.#watched.caughtUp(this.#waitMs, signal)
  }

  /** @param after the last name of the page before @throws AppError STORE_UNAVAILABLE while the names are still being read */
  async page(prefix: string, limit: number, after: string | undefined, signal: AbortSignal): Promise<NamePage> {
    await this.#during(() => this.caughtUp(signal))
    const start = toBytes(prefix)
    // The first string greater than it.
    const follower = after === undefined ? start : `${toBytes(after)}\0`
    const [, first = start] = [start, follower].sort()
    const names: string[] = []
    for (const bytes of this.#watched.keys.from(first)) {
      if (!bytes.startsWith(start)) break
      if (names.length === limit) return { names, next: names.at(-1) }
      names.push(fromBytes(bytes))
    }
    return { names, next: undefined }
  }

  close(): Promise<void> {
    return this.#watched.close()
  }
}

/** A character a byte, so that strings compare as their UTF-8 does. */
const toBytes = (name: string): string => (isAscii(name) ? name : Buffer.from(name, 'utf8').toString('latin1'))
const fromBytes = (bytes: string): string => (isAscii(bytes) ? bytes : Buffer.from(bytes, 'latin1').toString('utf8'))
/** Of what a name may hold. */
const isAscii = (text: string): boolean => /^[ -~]*$/.test(text)
