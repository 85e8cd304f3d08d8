import { AppError } from '../errors.ts'
import { onAbort } from '../lib/on-abort.ts'
import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { type KvChange, KvWatch } from '../nats/kv-watch.ts'

/** What holds the keys in memory. */
export interface KeySet {
  add(key: string): unknown
  delete(key: string): unknown
}

export interface WatchedOptions<Keys> {
  /** Of the bucket's keys, with wildcards. */
  readonly filter: string
  readonly empty: () => Keys
  /** Of a bucket's key; undefined = not one that belongs here. */
  readonly decode: (key: string) => string | undefined
  /** Messages that were to tell of keys cannot be read. */
  readonly onUnreadable?: (count: number) => void
  /**
   * Where all was read again and these were not among it any more, without a word that they were removed: they stay until
   * `hold` says otherwise. Without it they are gone.
   */
  readonly onVanished?: (keys: readonly string[]) => void
}

/**
 * The keys of a bucket in memory, kept up by a watch, and at once by what this node writes itself.
 * What another node wrote is seen some milliseconds later. When all is read again, a new set grows key by key beside the old
 * one and then takes its place: nothing is done to a million keys at once.
 */
export class WatchedKeys<Keys extends KeySet> {
  #keys: Keys
  readonly #watch: KvWatch
  /** Written here and not yet seen by the watch: an older change of the key must not undo it. */
  readonly #own = new Map<string, { readonly seq: number; readonly present: boolean }>()
  /** While all is read (again): what has come so far. */
  #loading: Keys | undefined
  /** While all is read again: what was said to be removed. */
  #removed = new Set<string>()
  #ready = false
  readonly #options: WatchedOptions<Keys>
  #waiting: (() => void)[] = []

  constructor(nats: Nats, bucket: KvBucket, options: WatchedOptions<Keys>) {
    const { filter, empty, decode } = options
    this.#options = options
    this.#keys = empty()
    this.#loading = empty()
    this.#watch = new KvWatch(nats, bucket, filter, {
      onBegin: () => {
        this.#loading = empty()
        this.#removed = new Set()
        // All of them come again, or lay in a bucket that is gone, whose sequences say nothing in the one that took its place.
        this.#own.clear()
      },
      onChange: (change) => {
        const key = decode(change.key)
        if (key !== undefined) this.#seen(key, change)
      },
      onCaughtUp: (unreadable) => {
        this.#loaded()
        if (unreadable > 0) options.onUnreadable?.(unreadable)
      },
    })
  }

  /** To be asked for each time: it is another one after all was read again. */
  get keys(): Keys {
    return this.#keys
  }

  get ready(): boolean {
    return this.#ready
  }

  wrote(key: string, present: boolean, seq: number): void {
    if ((this.#own.get(key)?.seq ?? 0) > seq) return
    this.#own.set(key, { seq, present })
    put(this.#keys, key, present)
  }

  /** What the truth says of a key, whatever was heard of it before. */
  hold(key: string, present: boolean): void {
    put(this.#keys, key, present)
    if (this.#loading !== undefined) put(this.#loading, key, present)
  }

  /** Resolves when all is here that was there at the start. @throws AppError STORE_UNAVAILABLE; the signal's reason */
  async caughtUp(waitMs: number, signal: AbortSignal): Promise<void> {
    if (this.#ready) return
    let timer: NodeJS.Timeout | undefined
    let release = (): void => undefined
    try {
      await new Promise<void>((resolve, reject) => {
        this.#waiting.push(resolve)
        const unavailable = new AppError('STORE_UNAVAILABLE', 'the index is still being read', {
          hint: 'try again in a moment',
        })
        timer = setTimeout(() => reject(unavailable), waitMs)
        release = onAbort(signal, () => reject(signal.reason))
      })
    } finally {
      clearTimeout(timer)
      release()
    }
  }

  async close(): Promise<void> {
    await this.#watch.close()
  }

  #seen(key: string, { seq, removed }: KvChange): void {
    const own = this.#own.get(key)
    if (own !== undefined && own.seq > seq) return
    if (own !== undefined) this.#own.delete(key)
    if (this.#loading !== undefined && removed) this.#removed.add(key)
    put(this.#loading ?? this.#keys, key, !removed)
  }

  #loaded(): void {
    const [before, now] = [this.#keys, this.#loading]
    if (now !== undefined) this.#keys = now
    this.#loading = undefined
    const { onVanished } = this.#options
    if (onVanished !== undefined && now instanceof Set && before instanceof Set) {
      const vanished = [...before].filter((key: string) => !now.has(key) && !this.#removed.has(key))
      for (const key of vanished) now.add(key)
      if (vanished.length > 0) onVanished(vanished)
    }
    for (const [key, { present }] of this.#own) put(this.#keys, key, present)
    this.#ready = true
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

function put(keys: KeySet, key: string, present: boolean): void {
  if (present) keys.add(key)
  else keys.delete(key)
}
