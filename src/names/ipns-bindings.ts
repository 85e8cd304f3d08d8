import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { KvWatch } from '../nats/kv-watch.ts'
import type { IpnsEntry } from './ipns-entry.ts'
import type { IpnsIndex } from './ipns-index.ts'
import { nameOfKey } from './name.ts'

const pageEntries = 500

/** The entries that follow a name of ours, kept up by a watch of the index: what has changed is read when it is asked for. */
export class IpnsBindings {
  readonly #bound = new Map<string, IpnsEntry>()
  readonly #changed = new Set<string>()
  readonly #index: Pick<IpnsIndex, 'getEach'>
  readonly #watch: KvWatch

  constructor(nats: Nats, bucket: KvBucket, space: string, index: Pick<IpnsIndex, 'getEach'>) {
    this.#index = index
    const prefix = `${space}.`
    this.#watch = new KvWatch(nats, bucket, `${prefix}>`, {
      onBegin: () => {
        this.#bound.clear()
        this.#changed.clear()
      },
      onChange: ({ key }) => {
        const name = nameOfKey(key.slice(prefix.length))
        if (name !== undefined) this.#changed.add(name)
      },
      onCaughtUp: () => undefined,
    })
  }

  /** An older value of a key would not be noticed until its next change. @throws AppError STORE_UNAVAILABLE; the signal's reason */
  async all(signal: AbortSignal): Promise<IpnsEntry[]> {
    while (this.#changed.size > 0) {
      const names = [...this.#changed].slice(0, pageEntries)
      for (const name of names) this.#changed.delete(name)
      try {
        this.#take(names, await this.#index.getEach(names, signal))
      } catch (error) {
        for (const name of names) this.#changed.add(name)
        throw error
      }
    }
    return [...this.#bound.values()]
  }

  close(): Promise<void> {
    return this.#watch.close()
  }

  #take(names: readonly string[], entries: readonly IpnsEntry[]): void {
    const found = new Map(entries.map((entry) => [entry.name, entry]))
    for (const name of names) {
      const entry = found.get(name)
      if (entry === undefined || entry.binding === null) this.#bound.delete(name)
      else this.#bound.set(name, entry)
    }
  }
}
