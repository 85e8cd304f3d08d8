import { setTimeout as delay } from 'node:timers/promises'
import { CID } from 'multiformats/cid'
import { type LogMessage, readMessage, rootKey } from '../names/name-fold.ts'
import type { Names } from '../names/names.ts'

export interface NameWatchParts {
  readonly names: Pick<Names, 'index' | 'log'>
  /** Whether a rule or a projection goes by names at all. */
  readonly matters: () => boolean
  /** Key of a root that has got or lost a name, once the index knows it. */
  readonly onRoot: (rootKey: string) => void
  readonly onTrouble: (error: unknown) => void
}

interface Changed {
  readonly name: string
  readonly revision: number
  /** Roots that it stands for, or stood for. */
  readonly roots: readonly string[]
}

const pollMs = 25
/** The index is written behind the log, by whoever made the change or by the projector: within so long, or never. */
const waitMsMax = 5_000
const atOnce = 256

/** Roots are looked at again when a name comes to them or leaves them, since rules and projections may go by names. */
export class NameWatch {
  readonly #parts: NameWatchParts
  readonly #changed = new Map<string, Changed>()
  readonly #stop = new AbortController()
  #working: Promise<void> | undefined

  constructor(parts: NameWatchParts) {
    this.#parts = parts
  }

  /** Messages of the log, in its order. */
  heard(messages: readonly LogMessage[]): void {
    const { signal } = this.#stop
    if (!this.#parts.matters()) return
    for (const message of messages) {
      const [, , , , entity] = message.subject.split('.', 5)
      if (entity !== 'name') continue
      for (const effect of readMessage(message)?.effects ?? []) {
        if (effect.kind !== 'name') continue
        const { name, key, revision, entry } = effect
        const before = this.#changed.get(key)?.roots ?? []
        const roots = entry === null ? before : [...new Set([...before, rootKey(CID.parse(entry.cid))])]
        this.#changed.set(key, { name, revision, roots })
      }
    }
    if (this.#changed.size === 0) return
    this.#working ??= this.#work(signal)
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('the node stops'))
    await this.#working
  }

  async #work(signal: AbortSignal): Promise<void> {
    try {
      while (this.#changed.size > 0) await this.#workOn([...this.#changed].slice(0, atOnce), signal)
    } catch (error) {
      if (!signal.aborted) this.#parts.onTrouble(error)
    }
    // In the turn of the last look: what changes from now on begins anew.
    this.#working = undefined
  }

  async #workOn(changes: readonly (readonly [key: string, change: Changed])[], signal: AbortSignal): Promise<void> {
    for (const [key] of changes) this.#changed.delete(key)
    await this.#indexed(changes, signal)
    for (const [, { name, revision, roots }] of changes) {
      for (const root of new Set([...roots, ...(await this.#rootsBefore(name, revision, signal))])) {
        this.#parts.onRoot(root)
      }
    }
  }

  async #indexed(changes: readonly (readonly [key: string, change: Changed])[], signal: AbortSignal): Promise<void> {
    const endMs = performance.now() + waitMsMax
    const keys = changes.map(([key]) => key)
    for (;;) {
      const revisions = await this.#parts.names.index.revisions(keys)
      const isBehind = changes.some(([, { revision }], at) => (revisions[at] ?? 0) < revision)
      if (!isBehind || performance.now() > endMs) return
      await delay(pollMs, undefined, { signal })
    }
  }

  /** What the name stood for before this revision. */
  async #rootsBefore(name: string, revision: number, signal: AbortSignal): Promise<readonly string[]> {
    const history = await this.#parts.names.log.history(name, signal)
    const before = history.filter((version) => version.revision < revision && version.cid !== null).at(-1)?.cid
    return before === undefined || before === null ? [] : [rootKey(CID.parse(before))]
  }
}
