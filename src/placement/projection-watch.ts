import type { Contexts } from './contexts.ts'
import type { ProjectionRecord } from './model.ts'

export interface ProjectionWatchParts {
  readonly contexts: Pick<Contexts, 'rootsOf'>
  readonly projections: () => readonly ProjectionRecord[]
  /** Key of a root that a projection is about, or was. */
  readonly onRoot: (rootKey: string) => void
  readonly onTrouble: (error: unknown) => void
}

const textOf = ({ site, subject }: ProjectionRecord) => JSON.stringify([site, subject])

/** When a projection comes, goes or changes, the roots that it is about are looked at again, and no others. */
export class ProjectionWatch {
  readonly #parts: ProjectionWatchParts
  readonly #stop = new AbortController()
  #known = new Map<string, ProjectionRecord>()
  #working: Promise<void> = Promise.resolve()

  constructor(parts: ProjectionWatchParts) {
    this.#parts = parts
  }

  changed(): void {
    const now = new Map(this.#parts.projections().map((one) => [textOf(one), one]))
    const turned = [...now]
      .filter(([text]) => !this.#known.has(text))
      .concat([...this.#known].filter(([text]) => !now.has(text)))
    this.#known = now
    for (const [, projection] of turned) {
      this.#working = this.#working.then(() => this.#lookAt(projection))
    }
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('the node stops'))
    await this.#working
  }

  async #lookAt(projection: ProjectionRecord): Promise<void> {
    const { contexts, onRoot, onTrouble } = this.#parts
    const { signal } = this.#stop
    try {
      for await (const key of contexts.rootsOf(projection, signal)) onRoot(key)
    } catch (error) {
      if (!signal.aborted) onTrouble(error)
    }
  }
}
