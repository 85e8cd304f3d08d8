import type { Context } from '../events/envelope.ts'
import { uuidv7 } from '../lib/uuid.ts'
import type { IpnsBindings } from '../names/ipns-bindings.ts'
import type { IpnsEntry } from '../names/ipns-entry.ts'
import type { IpnsPublisher } from './ipns-publish.ts'

export interface RepublisherParts {
  readonly bindings: Pick<IpnsBindings, 'all'>
  readonly publisher: Pick<IpnsPublisher, 'renew'>
  /** How often all bindings are looked at, whatever was heard. */
  readonly sweepMs?: number
  readonly onFailure?: (error: unknown) => void
}

/**
 * Keeps the records of bound keys up: anew when their name has changed, and before they expire. Any number of nodes may do
 * the same; of two that sign at once one finds nothing left to do.
 */
export class IpnsRepublisher {
  readonly #parts: RepublisherParts
  readonly #stop = new AbortController()
  readonly #changed = new Set<string>()
  readonly #timer: NodeJS.Timeout
  #sweepDue = true
  #running: Promise<void> | undefined
  /** Records signed here since the start. */
  signed = 0

  constructor(parts: RepublisherParts) {
    this.#parts = parts
    this.#timer = setInterval(() => this.#sweep(), parts.sweepMs ?? 30_000)
    this.#timer.unref()
    this.#wake()
  }

  /** These names have changed; their keys are looked at soon. */
  namesChanged(names: readonly string[]): void {
    for (const name of names) this.#changed.add(name)
    this.#wake()
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#stop.abort()
    await this.#running
  }

  #sweep(): void {
    this.#sweepDue = true
    this.#wake()
  }

  #wake(): void {
    if (this.#stop.signal.aborted) return
    this.#running ??= this.#work().finally(() => {
      this.#running = undefined
      // What came while the last round ended.
      if (this.#changed.size > 0) this.#wake()
    })
  }

  async #work(): Promise<void> {
    const { signal } = this.#stop
    while ((this.#sweepDue || this.#changed.size > 0) && !signal.aborted) {
      const all = this.#sweepDue
      const names = new Set(this.#changed)
      this.#sweepDue = false
      this.#changed.clear()
      try {
        const bound = await this.#parts.bindings.all(signal)
        for (const entry of bound) if (all || names.has(entry.binding?.name ?? '')) await this.#renew(entry, signal)
      } catch (error) {
        this.#failed(error)
      }
    }
  }

  /** One that fails is tried again at the next sweep. */
  async #renew(entry: IpnsEntry, signal: AbortSignal): Promise<void> {
    try {
      if (await this.#parts.publisher.renew(contextFor(entry), entry, { signal })) this.signed++
    } catch (error) {
      this.#failed(error)
    }
  }

  #failed(error: unknown): void {
    if (this.#stop.signal.aborted) return
    this.#parts.onFailure?.(error)
  }
}

function contextFor({ owner }: IpnsEntry): Context {
  const id = uuidv7()
  return {
    id,
    fresh: true,
    correlation: id,
    causation: undefined,
    owner,
    principal: 'node',
    via: 'node',
    traceparent: undefined,
  }
}
