import { canonicalJson, type Json } from '../events/canonical.ts'
import { ByteLru } from '../lib/lru.ts'
import { MiB } from '../lib/units.ts'
import type { KvBucket, KvRecord } from '../nats/kv-bucket.ts'
import type { RootEffect } from './fold.ts'
import type { RootFacts } from './model.ts'

/** What was read or written last, and by which sequence it is replaced. 0 = never there. */
interface Known {
  readonly seq: number
  readonly facts: RootFacts | undefined
}

/** Of what the fold has written last: the events of a copy follow each other. */
const recentBytesMax = 4 * MiB
/** Of a record; it changes with `positionKey`. */
const format = 3
const absent: Known = { seq: 0, facts: undefined }

/** What is known of each root, in KV `<d>_placement` under `<space>.root.<root key>`: a projection of the log. */
export class Facts {
  readonly #bucket: KvBucket
  readonly #prefix: string
  readonly #recent = new ByteLru<Known>(recentBytesMax)

  constructor(bucket: KvBucket, space: string) {
    this.#bucket = bucket
    this.#prefix = `${space}.root.`
  }

  /** @param key see `rootKey` */
  async get(key: string, signal: AbortSignal): Promise<RootFacts | undefined> {
    return factsIn(await this.#bucket.get(this.#prefix + key, signal))
  }

  /** All roots, in pages, in the order of their last change; one that is changed meanwhile may come twice. */
  async *all(signal: AbortSignal): AsyncGenerator<readonly (readonly [key: string, facts: RootFacts])[]> {
    for await (const page of this.#bucket.matching(`${this.#prefix}>`, signal)) {
      yield page.flatMap((record) => {
        const facts = factsIn(record)
        return facts === undefined ? [] : [[record.key.slice(this.#prefix.length), facts] as const]
      })
    }
  }

  /**
   * Applies the effects of many roots, those of each in their order: one request reads what is not known, and what has changed
   * is written in batches. May be done by two nodes at a time and again: each folds the log in order, and what is newer stays.
   * @returns the facts afterwards, of those that have any
   */
  async apply(
    effects: ReadonlyMap<string, readonly RootEffect[]>,
    signal: AbortSignal,
  ): Promise<Map<string, RootFacts>> {
    const unread = [...effects.keys()].filter((key) => this.#recent.get(key) === undefined)
    const read = unread.length === 0 ? undefined : await this.#bucket.getMany(unread.map((key) => this.#prefix + key))
    const result = new Map<string, RootFacts>()
    // All at once, so that they share batches.
    await Promise.all(
      Array.from(effects, async ([key, ofRoot]) => {
        const known = this.#recent.get(key) ?? knownIn(read?.get(this.#prefix + key))
        const facts = await this.#applyTo(key, ofRoot, known, signal)
        if (facts !== undefined) result.set(key, facts)
      }),
    )
    return result
  }

  async #applyTo(
    key: string,
    effects: readonly RootEffect[],
    known: Known,
    signal: AbortSignal,
  ): Promise<RootFacts | undefined> {
    // Read from any replica: what one that lags behind has not, or has otherwise, is asked for at the leader.
    for (let present = known, sure = false; ; ) {
      const facts = effects.reduce<RootFacts | undefined>((now, effect) => effect.apply(now), present.facts)
      if (facts !== undefined && facts === present.facts) return facts
      if (facts !== undefined) {
        const bytes = Buffer.from(canonicalJson({ ...facts, format } as unknown as Json))
        const seq = await this.#bucket.write(this.#prefix + key, bytes, present.seq)
        if (seq !== undefined) {
          this.#recent.set(key, { seq, facts }, 2 * bytes.byteLength)
          return facts
        }
      } else if (sure) return undefined
      signal.throwIfAborted()
      this.#recent.delete(key)
      present = knownIn(await this.#bucket.get(this.#prefix + key, signal))
      sure = true
    }
  }
}

function knownIn(record: KvRecord | undefined): Known {
  return record === undefined ? absent : { seq: record.seq, facts: factsIn(record) }
}

/** Undefined for a removed record, and for what is none of ours: the log is the truth, and writes it again. */
function factsIn(record: KvRecord | undefined): RootFacts | undefined {
  if (record === undefined || record.removed) return undefined
  try {
    const { format: written, ...value } = JSON.parse(record.value.toString('utf8')) as RootFacts & { format?: unknown }
    if (typeof value.root !== 'string' || typeof value.revision !== 'number') return undefined
    // Of before it was known what was taken in as partial: the log is folded again from its beginning (`positionKey`).
    if (written !== format) return undefined
    // JSON has no undefined: what was unknown is left out.
    return { ...unknown, ...value, copies: value.copies.map((copy) => ({ ...noTime, ...copy })) }
  } catch {
    return undefined
  }
}

const unknown = { bytes: undefined, blocks: undefined, told: undefined }
const noTime = { verifiedAt: undefined }
