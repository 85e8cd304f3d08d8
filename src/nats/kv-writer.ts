import { publishBatch } from './batch.ts'
import type { Nats } from './connection.ts'
import { isUnderWay, isWrongLastSequence, type Publication } from './publish.ts'

interface Write {
  readonly publication: Publication
  readonly resolve: (seq: number | undefined) => void
  readonly reject: (error: unknown) => void
}

const batchMax = 256

/**
 * Compare-and-set writes to one bucket, many at a time: those that arrive while a batch is with the server share the next
 * one, and its fsync. A batch that is refused for one of them is halved until that one stands alone.
 */
export class KvWriter {
  readonly #nats: Nats
  readonly #queue: Write[] = []
  #sending = false

  constructor(nats: Nats) {
    this.#nats = nats
  }

  /**
   * @returns the sequence; undefined when the subject's last sequence is not the expected one
   * @throws JetStreamRefusal | TransientError (unknown whether it was taken)
   */
  write(publication: Publication): Promise<number | undefined> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ publication, resolve, reject })
      if (this.#sending) return
      this.#sending = true
      // After this turn's I/O, so that writes which are asked for together leave together.
      setImmediate(() => void this.#drain())
    })
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) await this.#send(this.#take())
    this.#sending = false
  }

  /** Each subject once: the second write of a subject expects the first one's sequence. */
  #take(): Write[] {
    const subjects = new Set<string>()
    let count = 0
    for (const { publication } of this.#queue) {
      if (count === batchMax || subjects.has(publication.subject)) break
      subjects.add(publication.subject)
      count++
    }
    return this.#queue.splice(0, count)
  }

  async #send(writes: readonly Write[]): Promise<void> {
    const { channel, requests } = this.#nats.log
    const [only] = writes
    try {
      const publications = writes.map(({ publication }) => publication)
      const { seq } = await publishBatch(channel, requests, publications)
      for (const [at, { resolve }] of writes.entries()) resolve(seq - (writes.length - 1 - at))
    } catch (error) {
      if (writes.length === 1 && only !== undefined) {
        if (isWrongLastSequence(error)) only.resolve(undefined)
        else only.reject(error)
      } else if (isWrongLastSequence(error) || isUnderWay(error)) {
        const half = writes.length >>> 1
        await this.#send(writes.slice(0, half))
        await this.#send(writes.slice(half))
      } else {
        for (const { reject } of writes) reject(error)
      }
    }
  }
}
