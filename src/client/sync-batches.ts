import { syncFile } from '../lib/durable-file.ts'
import { mapAhead } from '../lib/streams.ts'
import { MiB } from '../lib/units.ts'

/** Files and bytes that are written and not synced yet: what the disk holds back is bounded, and so is what is kept of them. */
const filesMax = 1_000
const bytesMax = 64 * MiB
const syncsAhead = 16

export interface Written<T> {
  readonly file: string
  readonly bytes: number
  readonly about: T
}

/**
 * Syncs files some time after they were written, many together: the first of them that is synced takes what the file system keeps of the
 * others along, so that thousands of small files cost a few waits for the disk and not one each.
 */
export class SyncBatches<T> {
  readonly #onSynced: (written: Written<T>) => Promise<void>
  #waiting: Written<T>[] = []
  #bytes = 0

  /** @param onSynced is awaited for each, once its bytes are on the disk */
  constructor(onSynced: (written: Written<T>) => Promise<void>) {
    this.#onSynced = onSynced
  }

  /** Its content is written, and the file closed. @throws as `flush` */
  async add(written: Written<T>): Promise<void> {
    this.#waiting.push(written)
    this.#bytes += written.bytes
    if (this.#waiting.length >= filesMax || this.#bytes >= bytesMax) await this.flush()
  }

  /** What was added is on the disk when it resolves; where several wait for it, each for its own part. @throws the system's error, like EIO */
  async flush(): Promise<void> {
    const batch = this.#waiting
    this.#waiting = []
    this.#bytes = 0
    const synced = mapAhead(batch, syncsAhead, async (written) => {
      await syncFile(written.file)
      await this.#onSynced(written)
    })
    for await (const _ of synced);
  }
}
