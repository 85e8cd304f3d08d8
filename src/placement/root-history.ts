import { CID } from 'multiformats/cid'
import { rootKey } from '../names/name-fold.ts'
import type { LogReader } from '../nats/log-reader.ts'
import type { Facts } from './facts.ts'
import { objectIn, rootEffects } from './fold.ts'
import type { RootFacts } from './model.ts'

export interface RootHistoryParts {
  readonly facts: Pick<Facts, 'get'>
  readonly reader: Pick<LogReader, 'from'>
  readonly domain: string
  readonly space: string
}

/**
 * What the log of this site knows of a root at this moment: the facts as they were folded, and what has come since. Any node
 * may ask: the folding is the work of another one, which may be behind.
 */
export class RootHistory {
  readonly #parts: RootHistoryParts

  constructor(parts: RootHistoryParts) {
    this.#parts = parts
  }

  /** Undefined for what was never put in this space. @throws AppError STORE_UNAVAILABLE */
  async factsOf(root: CID, signal: AbortSignal): Promise<RootFacts | undefined> {
    const { facts: folded, reader, domain, space } = this.#parts
    const key = rootKey(root)
    let facts = await folded.get(key, signal)
    // Events bear the CID that was put, whatever spelling is asked for now.
    const subject = `${domain}.evt.*.${space}.*.*.${facts?.root ?? root.toV1().toString()}`
    for await (const message of reader.from(subject, (facts?.revision ?? 0) + 1, signal)) {
      for (const effect of rootEffects(message)) if (effect.key === key) facts = effect.apply(facts)
    }
    return objectIn(facts)
  }
}

/** The root that an event of the log is about; undefined for events that say nothing of copies. */
export function rootOfEvent(subject: string): string | undefined {
  const [, kind, , , entity, , root, ...rest] = subject.split('.')
  if (kind !== 'evt' || rest.length > 0 || (entity !== 'copy' && entity !== 'object')) return undefined
  return root
}

export function cidIn(text: string): CID | undefined {
  try {
    return CID.parse(text)
  } catch {
    return undefined
  }
}
