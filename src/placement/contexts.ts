import { CID } from 'multiformats/cid'
import { rootKey } from '../names/name-fold.ts'
import type { Names } from '../names/names.ts'
import type { Demand, ProjectionRecord, RootContext, RootFacts } from './model.ts'
import { cidIn } from './root-history.ts'

export interface ContextsParts {
  readonly names: Pick<Names, 'index' | 'list'>
  readonly projections: () => readonly ProjectionRecord[]
  /** Reads a minute by site. */
  readonly demandOf: (root: string) => Demand
}

/** Whether a name holds what these facts are of; to be asked of deleted content only, since it costs a request. */
export type IsNamed = (facts: RootFacts, signal: AbortSignal) => Promise<boolean>

const namesPerPage = 1_000

/** What rules may ask about beside the facts of a root: its names, who reads it, who shows it. */
export class Contexts {
  readonly #parts: ContextsParts

  constructor(parts: ContextsParts) {
    this.#parts = parts
  }

  /** As the indexes have it now. @throws AppError STORE_UNAVAILABLE */
  async of(facts: RootFacts, signal: AbortSignal): Promise<RootContext> {
    const entries = await this.#parts.names.index.namesOf(CID.parse(facts.root), signal)
    return this.with(
      facts,
      entries.map(({ name }) => name),
    )
  }

  /** A name holds it: then it is in view, deleted or not (names/view.ts). @throws AppError STORE_UNAVAILABLE */
  isNamed({ root }: RootFacts, signal: AbortSignal): Promise<boolean> {
    return this.#parts.names.index.isNamed(CID.parse(root), signal)
  }

  /** As it would be with these names. */
  with({ root }: Pick<RootFacts, 'root'>, names: readonly string[]): RootContext {
    const { projections, demandOf } = this.#parts
    const showing = projections().filter(({ subject }) =>
      'cid' in subject ? isSameContent(subject.cid, root) : names.some((name) => covers(subject.name, name)),
    )
    const projectedAt = [...new Set(showing.map(({ site }) => site))].sort()
    return { names, demand: demandOf(root), projectedAt }
  }

  /** Keys of the roots that a projection is about now. @throws AppError STORE_UNAVAILABLE */
  async *rootsOf({ subject }: ProjectionRecord, signal: AbortSignal): AsyncGenerator<string> {
    if ('cid' in subject) {
      const cid = cidIn(subject.cid)
      if (cid !== undefined) yield rootKey(cid)
      return
    }
    const { index, list } = this.#parts.names
    if (!subject.name.endsWith('/')) {
      const entry = await index.get(subject.name, signal)
      if (entry !== undefined) yield rootKey(CID.parse(entry.cid))
      return
    }
    for (let cursor: string | undefined; ; ) {
      const page = await list.page(subject.name, namesPerPage, cursor, signal)
      for (const { cid } of await index.getMany(page.names, signal)) yield rootKey(CID.parse(cid))
      if (page.next === undefined) return
      cursor = page.next
    }
  }
}

/** A name, or all names below one that ends in `/`. */
export function covers(pattern: string, name: string): boolean {
  return pattern.endsWith('/') ? name.startsWith(pattern) : name === pattern
}

function isSameContent(a: string, b: string): boolean {
  if (a === b) return true
  const [one, other] = [cidIn(a), cidIn(b)]
  return one !== undefined && other !== undefined && rootKey(one) === rootKey(other)
}
