import { onAbort } from '../lib/on-abort.ts'
import type { Nats } from '../nats/connection.ts'
import { directGetFrom, wholeStream } from '../nats/direct-get.ts'
import { lastSequence, onEventStored } from '../nats/event-stream.ts'
import { isTransient } from '../nats/publish.ts'
import { type CloudEvent, decodeEvent } from './envelope.ts'

/** An event of the log with what its subject says. */
export interface LoggedEvent {
  readonly sequence: number
  readonly space: string
  readonly entity: string
  readonly verb: string
  readonly event: CloudEvent
}

export interface Recent {
  readonly events: readonly LoggedEvent[]
  /** Nothing up to here is missing from `events`. */
  readonly upTo: number
}

/** Whose log it is. */
export interface TailPlace {
  readonly domain: string
  readonly site: string
}

const eventsKept = 1024
const bytesKept = 4 * 1024 * 1024
const catchUpCount = 256
/** Finds what the server's echo lost: it is at most once, and ends with the connection. */
const pollMs = 500
const lingerMs = 10_000

interface Running {
  readonly started: Promise<void>
  readonly stop: () => void
}

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

interface Kept {
  readonly logged: LoggedEvent
  readonly bytes: number
}

/**
 * The end of the log as it grows, once for all followers of a node: fed by the server's echo of each stored event, with a
 * look at the log where one is missing. No consumer is made for it, so nothing is left at the server, and an outage ends
 * nothing. It costs nothing while nobody follows.
 */
export class Tail {
  readonly #nats: Nats
  readonly #stream: string
  readonly #place: TailPlace
  /** All events after `#from` up to `#last`. */
  #kept: Kept[] = []
  #bytes = 0
  #from = 0
  #last = 0
  #followers = 0
  #running: Running | undefined
  #catchingUp: Promise<void> | undefined
  readonly #waiting = new Set<Waiter>()
  #lingering: NodeJS.Timeout | undefined

  constructor(nats: Nats, stream: string, place: TailPlace) {
    this.#nats = nats
    this.#stream = stream
    this.#place = place
  }

  /** Of the last event seen. */
  get last(): number {
    return this.#last
  }

  get followers(): number {
    return this.#followers
  }

  /** To be called before the rest. @returns what ends it @throws TransientError, then it may be called again */
  async join(): Promise<() => void> {
    this.#followers++
    const running = this.#running ?? this.#start()
    try {
      await running.started
    } catch (error) {
      this.#leave()
      throw error
    }
    // It may have lingered through an outage.
    this.#catchUp()
    return () => this.#leave()
  }

  /** What came after `position`; undefined when that is no longer kept and has to be read from the log. */
  since(position: number): Recent | undefined {
    if (position < this.#from) return undefined
    let at = this.#kept.length
    while (at > 0 && (this.#kept[at - 1]?.logged.sequence ?? 0) > position) at--
    return { events: this.#kept.slice(at).map(({ logged }) => logged), upTo: Math.max(position, this.#last) }
  }

  /** Resolves when there is something after `position`. @throws the signal's reason; what keeps us from the log for good */
  async after(position: number, signal: AbortSignal): Promise<void> {
    while (this.#last <= position) await this.#change(signal)
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settled = () => {
        this.#waiting.delete(waiter)
        release()
      }
      const waiter: Waiter = {
        resolve: () => {
          settled()
          resolve()
        },
        reject: (error) => {
          settled()
          reject(error)
        },
      }
      const release = onAbort(signal, () => waiter.reject(signal.reason))
      this.#waiting.add(waiter)
    })
  }

  #start(): Running {
    let begun = false
    const unsubscribe = onEventStored(this.#nats, this.#place, (sequence, subject, payload) => {
      if (!begun || sequence <= this.#last) return
      if (sequence === this.#last + 1) this.#accept(sequence, subject, payload)
      else this.#catchUp()
    })
    const poll = setInterval(() => begun && this.#followers > 0 && this.#catchUp(), pollMs)
    poll.unref()
    const stop = () => {
      unsubscribe()
      clearInterval(poll)
      this.#running = undefined
    }
    const started = lastSequence(this.#nats, this.#stream).then(
      (last) => {
        this.#kept = []
        this.#bytes = 0
        this.#from = this.#last = last
        begun = true
      },
      (error: unknown) => {
        stop()
        throw error
      },
    )
    this.#running = { started, stop }
    return this.#running
  }

  /** The last one leaves it running for a while: most of those who go come back. */
  #leave(): void {
    this.#followers--
    const running = this.#running
    if (this.#followers > 0 || running === undefined) return
    clearTimeout(this.#lingering)
    this.#lingering = setTimeout(() => {
      if (this.#followers === 0 && this.#running === running) running.stop()
    }, lingerMs).unref()
  }

  #catchUp(): void {
    this.#catchingUp ??= this.#readOn()
      .catch((error: unknown) => {
        // An outage: the next poll tries again.
        if (isTransient(error)) return
        for (const waiter of this.#waiting) waiter.reject(error)
      })
      .finally(() => {
        this.#catchingUp = undefined
      })
  }

  async #readOn(): Promise<void> {
    for (;;) {
      const { requests } = this.#nats.log
      const { messages } = await directGetFrom(requests, this.#stream, wholeStream, this.#last + 1, catchUpCount)
      for (const { seq, subject, data } of messages) if (seq > this.#last) this.#accept(seq, subject, data)
      if (messages.length < catchUpCount || this.#followers === 0) return
    }
  }

  #accept(sequence: number, subject: string, payload: Uint8Array): void {
    const logged = loggedEvent(sequence, subject, payload)
    // What is no event of ours is passed over: it must not stop those who follow.
    if (logged !== undefined) {
      this.#kept.push({ logged, bytes: payload.byteLength })
      this.#bytes += payload.byteLength
      if (this.#kept.length > 2 * eventsKept || this.#bytes > bytesKept) this.#trim()
    }
    this.#last = sequence
    for (const waiter of this.#waiting) waiter.resolve()
  }

  /** Down to half of what may be kept, so that it is not done for each event. */
  #trim(): void {
    let drop = Math.max(0, this.#kept.length - eventsKept)
    const gone = (count: number) => this.#kept.slice(0, count).reduce((sum, { bytes }) => sum + bytes, 0)
    while (drop < this.#kept.length && this.#bytes - gone(drop) > bytesKept / 2) drop++
    this.#bytes -= gone(drop)
    this.#from = this.#kept[drop - 1]?.logged.sequence ?? this.#from
    this.#kept.splice(0, drop)
  }
}

/** `<d>.evt.<site>.<space>.<entity>.<verb>.<key>` with its payload; undefined for what is no event of ours. */
export function loggedEvent(sequence: number, subject: string, payload: Uint8Array): LoggedEvent | undefined {
  const event = decodeEvent(payload)
  const [, , , space, entity, verb] = subject.split('.', 6)
  if (event === undefined || space === undefined || entity === undefined || verb === undefined) return undefined
  return { sequence, space, entity, verb, event }
}
