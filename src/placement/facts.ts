import { canonicalJson, type Json } from '../events/canonical.ts'
import { writeRevision } from '../names/revisioned.ts'
import type { KvBucket, KvRecord } from '../nats/kv-bucket.ts'
import type { RootEffect } from './fold.ts'
import type { RootFacts } from './model.ts'

/** What is known of each root, in KV `<d>_placement` under `<space>.root.<root key>`: a projection of the log. */
export class Facts {
  readonly #bucket: KvBucket
  readonly #prefix: string

  constructor(bucket: KvBucket, space: string) {
    this.#bucket = bucket
    this.#prefix = `${space}.root.`
  }

  /** @param key see `rootKey` */
  async get(key: string, signal: AbortSignal): Promise<RootFacts | undefined> {
    return factsIn(await this.#bucket.get(this.#prefix + key, signal))
  }

  /** All roots, in pages, in the order of their last change. */
  async *all(signal: AbortSignal): AsyncGenerator<readonly (readonly [key: string, facts: RootFacts])[]> {
    for await (const page of this.#bucket.matching(`${this.#prefix}>`, signal)) {
      yield page.flatMap((record) => {
        const facts = factsIn(record)
        return facts === undefined ? [] : [[record.key.slice(this.#prefix.length), facts] as const]
      })
    }
  }

  /**
   * Applies the effects of one root, in their order. May be done by two nodes at a time and again: each folds the log in
   * order, and what is newer stays.
   * @returns the facts afterwards
   */
  async apply(key: string, effects: readonly RootEffect[], signal: AbortSignal): Promise<RootFacts | undefined> {
    const present = await this.get(key, signal)
    const facts = effects.reduce<RootFacts | undefined>((now, effect) => effect.apply(now), present)
    if (facts === undefined || facts === present) return facts
    const bytes = Buffer.from(canonicalJson(facts as unknown as Json))
    const { seq } = await writeRevision(this.#bucket, this.#prefix + key, facts.revision, bytes)
    return seq === undefined ? this.get(key, signal) : facts
  }
}

function factsIn(record: KvRecord | undefined): RootFacts | undefined {
  if (record === undefined || record.removed) return undefined
  const value = JSON.parse(record.value.toString('utf8')) as RootFacts
  // JSON has no undefined: what was unknown is left out.
  return { ...unknown, ...value, copies: value.copies.map((copy) => ({ ...noTime, ...copy })) }
}

const unknown = { bytes: undefined, blocks: undefined, told: undefined }
const noTime = { verifiedAt: undefined }
