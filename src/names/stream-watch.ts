import { setTimeout as delay } from 'node:timers/promises'
import { isAppError } from '../errors.ts'
import { closeWaitMs, settledWithin } from '../lib/settled-within.ts'
import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { deadStream, keyBucket, kvStream, moveStream, queueStream, readStream, tokenBucket } from '../nats/layout.ts'
import { patiently } from '../nats/patience.ts'
import { isLastLost, type StreamMark, streamHealth, streamMark } from '../nats/stream-health.ts'

export interface StreamWatchParts {
  readonly nats: Nats
  readonly domain: string
  /** Keeps what was seen of the streams. */
  readonly bucket: KvBucket
  readonly waitMs: number
  /** Between two looks at all of them. 0 = none but the one at the start. */
  readonly auditEveryMs: number
  readonly onDamaged: (stream: string, what: string) => void
  /** One that was gone is there again. */
  readonly onRestored: (stream: string, how: string) => void
  readonly onTrouble: (error: unknown) => void
}

/** What is done about a stream that is gone, or was made anew by somebody else. */
export interface Restorable {
  /** Makes it where it is missing, with what is known here of what was in it. Any number of nodes may do it at once. @returns how it is now */
  restore(): Promise<string>
  /** It is there: now and then, to look at what may have to be restored. */
  seen?(): Promise<void>
}

type Marks = Readonly<Record<string, StreamMark>>

/** What is not folded from the log. */
const streamsOf = {
  keys: (domain: string) => [kvStream(keyBucket(domain))],
  tokens: (domain: string) => [kvStream(tokenBucket(domain))],
  queue: (domain: string) => [queueStream(domain), deadStream(domain)],
  moves: (domain: string) => [moveStream(domain)],
  reads: (domain: string) => [readStream(domain)],
} as const

/** A key that no space can have. */
const marksKey = '=streams'
const lookEveryMs = 5_000
/** After each page that was read. */
const restMs = 20
const pace = (_bytes: number, signal: AbortSignal): Promise<void> => delay(restMs, undefined, { signal })

/**
 * Watches the streams that are not folded from the log, and so cannot be made anew: what is lost of them is told, and one that is
 * gone is made again, empty, so that the work goes on. At the start and now and then each is read, slowly, and compared with what was
 * seen of it before.
 */
export class StreamWatch {
  readonly #parts: StreamWatchParts
  readonly #stop = new AbortController()
  readonly #streams: readonly string[]
  #timer: NodeJS.Timeout | undefined
  readonly #restorable = new Map<string, Restorable>()
  /** Of the looks that read all, and of those that do not: neither waits for the other. */
  #reading: Promise<unknown> = Promise.resolve()
  #keeping: Promise<unknown> | undefined
  #seen: Marks = {}
  #saved = ''
  #nextMs = Number.POSITIVE_INFINITY
  readonly #told = new Set<string>()
  /** Streams whose last message is lost: it is told once, and not waited for any more. */
  readonly #lastLost = new Set<string>()
  #isReading = false

  constructor(parts: StreamWatchParts) {
    this.#parts = parts
    const { domain } = parts
    this.#streams = Object.values(streamsOf).flatMap((names) => names(domain))
  }

  /** What was seen before is asked before anybody makes a stream anew that is gone. @throws AppError STORE_UNAVAILABLE */
  async start(): Promise<void> {
    this.#seen = await this.#read()
    this.#readAll(this.#seen)
    this.#timer = setInterval(() => this.#tick(), lookEveryMs)
  }

  /** From now on these are made again where they are gone. */
  restoring(what: keyof typeof streamsOf, restorable: Restorable): void {
    for (const stream of streamsOf[what](this.#parts.domain)) this.#restorable.set(stream, restorable)
  }

  /** Each at most once at a time: what takes long, or waits for NATS, is not waited for by ever more of them. */
  #tick(): void {
    if (performance.now() >= this.#nextMs) this.#readAll(this.#seen)
    // While NATS is away nothing can be said of them.
    this.#keeping ??= this.#keep()
      .catch((error: unknown) => isAppError(error) && this.#parts.onTrouble(error))
      .finally(() => {
        this.#keeping = undefined
      })
  }

  #readAll(before: Marks): void {
    if (this.#isReading) return
    this.#isReading = true
    this.#plan()
    this.#reading = this.#lookOrTell(before).finally(() => {
      this.#isReading = false
    })
  }

  /** Whether all are there, and the same as before: one look at each. */
  async #keep(): Promise<void> {
    const { nats, onRestored } = this.#parts
    const marks: Record<string, StreamMark> = {}
    for (const stream of this.#streams) {
      const known = this.#seen[stream]
      let mark = await streamMark(nats, stream, known)
      const restorable = this.#restorable.get(stream)
      const isSame = mark !== undefined && mark.created === known?.created
      if (known !== undefined && !isSame) this.#tellGone(stream, known)
      if (isSame) await restorable?.seen?.()
      else if (restorable !== undefined && (known !== undefined || mark === undefined)) {
        onRestored(stream, await restorable.restore())
        mark = await streamMark(nats, stream)
      }
      if (mark === undefined) continue
      const { created, last } = mark
      marks[stream] = this.#lastLost.has(`${stream} ${last}`) ? { created, last } : mark
    }
    this.#seen = marks
    await this.#save(marks)
  }

  #plan(): void {
    const { auditEveryMs } = this.#parts
    if (auditEveryMs > 0) this.#nextMs = performance.now() + auditEveryMs
  }

  async #lookOrTell(before: Marks): Promise<void> {
    try {
      await this.#look(before)
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#parts.onTrouble(error)
    }
  }

  /** Once of each damage. */
  #tell(stream: string, what: string, key = what): void {
    const line = `${stream} ${key}`
    if (this.#told.has(line)) return
    this.#told.add(line)
    this.#parts.onDamaged(stream, what)
  }

  /** Both looks may find it, and the one that was made in its place may go too. */
  #tellGone(stream: string, { created, last }: StreamMark): void {
    const what = `it was gone; it had ${last} messages in its life, and what was left of them is lost`
    this.#tell(stream, what, `gone ${created}`)
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#stop.abort(new Error('the node stops'))
    await settledWithin(
      closeWaitMs,
      this.#reading.then(() => this.#keeping ?? this.#keep()).catch(() => undefined),
    )
  }

  async #look(before: Marks): Promise<void> {
    const { nats, waitMs } = this.#parts
    const { signal } = this.#stop
    for (const stream of this.#streams) {
      const known = before[stream]
      const mark = await patiently(waitMs, signal, () => streamMark(nats, stream))
      if (known !== undefined && mark?.created !== known.created) {
        this.#tellGone(stream, known)
      } else if (known !== undefined && mark !== undefined && mark.last < known.last) {
        this.#tell(stream, `it ends at ${mark.last}, and had ${known.last}: its end is lost`)
      } else if (known !== undefined && mark?.last === known.last) {
        if (await patiently(waitMs, signal, () => isLastLost(nats, stream, known))) {
          this.#lastLost.add(`${stream} ${known.last}`)
          this.#tell(stream, `message ${known.last}, its last one, is lost`)
        }
      }
      const health = await patiently(waitMs, signal, () => streamHealth(nats, stream, { signal, pace }))
      if (health !== undefined && health.unreadable > 0)
        this.#tell(stream, `${health.unreadable} of its messages cannot be read`)
    }
  }

  async #read(): Promise<Marks> {
    const record = await this.#parts.bucket.get(marksKey)
    if (record === undefined || record.removed) return {}
    try {
      return (JSON.parse(record.value.toString('utf8')) as Marks | null) ?? {}
    } catch {
      return {}
    }
  }

  async #save(marks: Marks): Promise<void> {
    const { bucket } = this.#parts
    const text = JSON.stringify(marks)
    if (text === this.#saved || !(await bucket.exists())) return
    const present = await bucket.get(marksKey)
    if ((await bucket.write(marksKey, Buffer.from(text), present?.seq ?? 0)) !== undefined) this.#saved = text
  }
}
