import { setTimeout as delay } from 'node:timers/promises'
import { AppError } from '../errors.ts'
import type { FoldMarks } from '../events/fold-mark.ts'
import type { LogGuard } from '../events/log-guard.ts'
import { passBy, type Reach } from '../lib/crash-point.ts'
import type { Nats } from '../nats/connection.ts'
import { DurableConsumer } from '../nats/durable-consumer.ts'
import { digestOf } from '../nats/log-identity.ts'
import type { Conflicts } from './conflicts.ts'
import {
  type CommandTrace,
  emptyState,
  foldMessage,
  indexedVerbs,
  type LogMessage,
  type NameEffect,
  readMessage,
} from './name-fold.ts'
import { effectOfVersion } from './name-heads.ts'
import type { Names } from './names.ts'

export interface ProjectorOptions {
  readonly stream: string
  readonly names: Names
  readonly site: string
  /** Told of names that stand for several things; without it nobody is. */
  readonly conflicts?: Conflicts
  /** Whether the log may be folded: while it is not what was folded so far, nothing is. Without it, it always may. */
  readonly guard?: Pick<LogGuard, 'fault' | 'seen'>
  /** Told of what was folded. */
  readonly marks?: Pick<FoldMarks, 'folded'>
  readonly reach?: Reach
}

/** The indexes that this brings up. */
const folds = ['names', 'refs', 'deleted', 'ipns', 'outcomes'] as const
/** While the log may not be folded, messages go back to the server so often. */
const heldBackMs = 2_000

const nothing: LogMessage = { subject: '', sequence: 0, payload: new Uint8Array() }
const pollMs = 20
/** Of one round of waiting for an index that is behind. */
const lagWaitMs = 5_000
const lagPauseMs = 200
const writesAtOnce = 32

/** Of its durable consumer. */
export const projectorName = (site: string, space: string): string => `index-${site}-${space}`

/**
 * Brings the indexes up to the log: what a request that crashed or lost NATS after its commit has left, and the outcomes of
 * commands. One consumer a site and space, shared by its nodes; every write is idempotent and never replaces what is newer.
 * A message that is no event of ours is counted and left behind.
 */
export class Projector {
  readonly #names: Names
  readonly #reach: Reach
  readonly #conflicts: Conflicts | undefined
  readonly #guard: ProjectorOptions['guard']
  readonly #marks: ProjectorOptions['marks']
  readonly #stop = new AbortController()
  #consumer: DurableConsumer | undefined
  #lagging: Promise<unknown> = Promise.resolve()
  #skipped = 0
  #events = 0
  /** Told of the names that have changed, once the index knows it. Of each change one node of the site hears. */
  onNames: (names: readonly string[]) => void = () => undefined

  private constructor({ names, conflicts, guard, marks, reach = passBy }: ProjectorOptions) {
    this.#names = names
    this.#guard = guard
    this.#marks = marks
    this.#conflicts = conflicts
    this.#reach = reach
  }

  /** @throws AppError STORE_UNAVAILABLE */
  static async start(nats: Nats, options: ProjectorOptions): Promise<Projector> {
    const projector = new Projector(options)
    options.names.whole.onBehind = () => {
      projector.#lagging = projector.#mendLag()
    }
    const { domain, space } = options.names.source
    const of = (rest: string) => `${domain}.evt.*.${space}.${rest}.>`
    projector.#consumer = await DurableConsumer.start(nats, {
      stream: options.stream,
      name: projectorName(options.site, space),
      filters: [...indexedVerbs].map(of),
      work: (messages) => projector.#project(messages),
    })
    return projector
  }

  /** Since the start, by this node. */
  get counts(): { readonly events: number; readonly skipped: number; readonly restarts: number } {
    return { events: this.#events, skipped: this.#skipped, restarts: this.#consumer?.restarts ?? 0 }
  }

  /** Lets the indexes be asked again once nothing of the log is left to be done. */
  async #mendLag(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        await this.waitCaughtUp(lagWaitMs, signal)
        this.#names.whole.caughtUp()
        return
      } catch {
        // It goes on: the index says that it is behind to whoever asks, and the streams say why.
        await delay(lagPauseMs, undefined, { signal }).catch(() => undefined)
      }
    }
  }

  /** Resolves when nothing of the log is left to be done, by any node. @throws AppError STORE_UNAVAILABLE */
  async waitCaughtUp(waitMs: number, signal: AbortSignal): Promise<void> {
    const endMs = performance.now() + waitMs
    while ((await this.#consumer?.pending()) !== 0) {
      if (performance.now() > endMs) throw new AppError('STORE_UNAVAILABLE', 'the index is behind the event log')
      await delay(pollMs, undefined, { signal })
    }
  }

  async close(): Promise<void> {
    this.#stop.abort()
    await this.#consumer?.close()
    await this.#lagging
  }

  async #project(messages: readonly LogMessage[]): Promise<void> {
    if (this.#guard?.fault !== undefined) {
      await delay(heldBackMs, undefined, { signal: this.#stop.signal }).catch(() => undefined)
      // They come again: acknowledged is only what was folded.
      throw new AppError('LOG_DAMAGED', 'the event log is not what the indexes were folded from')
    }
    this.#reach('projector-read')
    try {
      await this.#fold(messages)
    } catch (error) {
      this.#names.whole.fellBehind()
      throw error
    }
  }

  async #fold(messages: readonly LogMessage[]): Promise<void> {
    const state = messages.reduce(foldMessage, emptyState())
    const effects = [...state.names.values()]
    const isOwn = ({ site }: NameEffect) => site === this.#names.source.site
    await this.#applyNames(effects.filter(isOwn))
    await this.#applyForeign(effects.filter((effect) => !isOwn(effect)))
    for (const life of state.objects.values()) await this.#names.deleted.apply(life)
    for (const effect of state.ipns.values()) await this.#names.apply(effect)
    const traces = messages.flatMap((message): CommandTrace[] => {
      const command = readMessage(message)?.command
      return command === undefined ? [] : [command]
    })
    await this.#names.outcomes.record(traces)
    this.#reach('projector-indexed')
    const newest = messages.reduce((last, one) => (one.sequence > last.sequence ? one : last), messages[0] ?? nothing)
    if (newest.sequence > 0) {
      this.#marks?.folded(folds, newest)
      this.#guard?.seen(newest.sequence, () => digestOf(newest.subject, newest.payload))
    }
    this.#events += messages.length
    if (state.names.size > 0) this.onNames(Array.from(state.names.values(), ({ name }) => name))
    this.#skipped += state.skipped
  }

  /** What came from another site may stand beside what is here: how a name stands is asked of the log. */
  async #applyForeign(effects: readonly NameEffect[]): Promise<void> {
    if (effects.length === 0) return
    const { signal } = this.#stop
    const heads = await this.#names.log.heads(
      effects.map(({ name }) => name),
      signal,
    )
    for (let at = 0; at < heads.length; at += writesAtOnce) {
      await Promise.all(
        heads.slice(at, at + writesAtOnce).map(async ({ name, version }) => {
          if (version === undefined) return
          await this.#conflicts?.announce(name, version, signal)
          await this.#names.apply(effectOfVersion(name, version))
        }),
      )
    }
  }

  /** Mostly the request that made the event has done it already: one look tells. */
  async #applyNames(effects: readonly NameEffect[]): Promise<void> {
    const revisions = await this.#names.index.revisions(effects.map(({ key }) => key))
    const missing = effects.filter(({ revision }, at) => (revisions[at] ?? 0) < revision)
    for (let at = 0; at < missing.length; at += writesAtOnce) {
      await Promise.all(missing.slice(at, at + writesAtOnce).map((effect) => this.#names.apply(effect)))
    }
  }
}
