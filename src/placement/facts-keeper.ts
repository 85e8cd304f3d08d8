import type { FoldMarks, Projection } from '../events/fold-mark.ts'
import type { LogGuard } from '../events/log-guard.ts'
import { closeWaitMs, settledWithin } from '../lib/settled-within.ts'
import type { KnownRoot } from '../names/log-loss.ts'
import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import { digestAt } from '../nats/log-identity.ts'
import { patiently } from '../nats/patience.ts'
import { streamHealth } from '../nats/stream-health.ts'
import type { Facts } from './facts.ts'
import { isPut } from './fold.ts'
import { positionKey } from './fold-position.ts'
import type { Follower } from './follower.ts'

export interface FactsKeeperParts {
  readonly nats: Nats
  readonly placement: KvBucket
  readonly policy: KvBucket
  readonly facts: Facts
  readonly follower: () => Pick<Follower, 'again'> | undefined
  readonly guard: Pick<LogGuard, 'fault' | 'stale' | 'last' | 'identity'>
  readonly marks: FoldMarks
  readonly stream: string
  readonly space: string
  /** This site's. */
  readonly site: string
  readonly waitMs: number
  readonly auditEveryMs: number
  readonly onRemade: (index: string, reason: string) => void
  readonly onTrouble: (error: unknown) => void
  readonly lookEveryMs?: number
}

const lookEveryMsDefault = 5_000

/**
 * Keeps the facts of roots, places and the policy what the log says: what is gone, cannot be read, or lost its end is folded anew,
 * from the beginning of the log. Until then little is known of copies, which only keeps anything from being done about them.
 */
export class FactsKeeper {
  readonly #parts: FactsKeeperParts
  readonly #stop = new AbortController()
  #damaged: string | undefined
  #running: Promise<void> = Promise.resolve()
  #end: () => void = () => undefined

  private constructor(parts: FactsKeeperParts) {
    this.#parts = parts
    parts.marks.onLost((projection) => isOurs(projection) && this.#suspect('it lost what was written last'))
  }

  /** Before anything is folded. @throws AppError STORE_UNAVAILABLE */
  static async settle(parts: FactsKeeperParts): Promise<FactsKeeper> {
    const keeper = new FactsKeeper(parts)
    await keeper.#settle()
    return keeper
  }

  async #settle(): Promise<void> {
    const { placement, policy, guard } = this.#parts
    if (guard.fault !== undefined || guard.last === 0) return
    if (placement.made || policy.made) await this.#remake('it was gone')
    else if (guard.stale.some(isOurs)) await this.#remake('it was not folded as far as its log')
  }

  start(): void {
    this.#running = this.#run()
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('the node stops'))
    this.#end()
    await settledWithin(closeWaitMs, this.#running)
  }

  /** Buckets of what people and sites have set. */
  get settings(): readonly KvBucket[] {
    return [this.#parts.placement, this.#parts.policy]
  }

  /** All that was put, as far as it was folded. */
  async *knownRoots(signal: AbortSignal): AsyncGenerator<readonly KnownRoot[]> {
    const { facts, site } = this.#parts
    for await (const page of facts.all(signal)) {
      yield page.flatMap(([, known]): KnownRoot[] => {
        if (!isPut(known)) return []
        const { root, deleted, owner, mediaType, bytes, blocks, copies } = known
        const store = copies.find((copy) => copy.site === site && copy.state === 'verified')?.store
        return [{ root, deleted, owner, mediaType, bytes, blocks, store }]
      })
    }
  }

  /** The log is another one now: all is folded from it again. @throws AppError STORE_UNAVAILABLE */
  async refold(): Promise<void> {
    const { placement, policy, space, follower } = this.#parts
    for (const kind of ['root', 'store', 'projection']) await placement.purge(`${space}.${kind}.>`)
    await placement.purge('site.>')
    await placement.purge(positionKey(space))
    await policy.purge(space)
    await this.#mark()
    follower()?.again()
  }

  async #remake(reason: string): Promise<void> {
    const { placement, policy, follower, onRemade } = this.#parts
    await placement.remake()
    await policy.remake()
    await this.#mark()
    this.#damaged = undefined
    follower()?.again()
    onRemade('placement', reason)
  }

  /** The fold begins at the beginning again, of this very log. */
  async #mark(): Promise<void> {
    const { nats, stream, guard, marks, waitMs } = this.#parts
    const { last: sequence, identity } = guard
    if (sequence === 0) return
    const digest = await patiently(waitMs, this.#stop.signal, () => digestAt(nats, stream, sequence))
    if (digest === undefined) return
    for (const one of ours) await marks.reset(one, { epoch: identity.epoch, sequence, digest })
  }

  #suspect(reason: string): void {
    this.#damaged ??= reason
    this.#end()
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    const { guard, auditEveryMs, onTrouble, lookEveryMs = lookEveryMsDefault } = this.#parts
    let nextMs = 0
    while (!signal.aborted) {
      try {
        const isDue = performance.now() >= nextMs
        await this.#look(isDue)
        if (isDue) nextMs = auditEveryMs > 0 ? performance.now() + auditEveryMs : Number.POSITIVE_INFINITY
        if (this.#damaged !== undefined && guard.fault === undefined) await this.#remake(this.#damaged)
      } catch (error) {
        if (!signal.aborted) onTrouble(error)
      }
      if (signal.aborted) return
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, lookEveryMs)
        this.#end = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  /** @param thorough reads all of it */
  async #look(thorough: boolean): Promise<void> {
    const { nats, placement, policy, waitMs } = this.#parts
    const { signal } = this.#stop
    for (const bucket of [placement, policy]) {
      const look = await bucket.look()
      if (look === undefined) this.#damaged ??= 'it was gone'
      else if (look.sealed) this.#damaged ??= 'it was sealed, and takes nothing more'
      else if (thorough) {
        const health = await patiently(waitMs, signal, () => streamHealth(nats, bucket.stream, { signal }))
        if (health !== undefined && health.unreadable > 0)
          this.#damaged ??= `${health.unreadable} of its keys cannot be read`
        else if (health?.inconsistent === true) this.#damaged ??= 'the server counts it wrongly'
      }
    }
  }
}

const ours = ['placement', 'policy'] as const
const isOurs = (projection: Projection): boolean => (ours as readonly string[]).includes(projection)

/** What placement contributes where a log lost events; nothing where copies are not watched over. */
export function recovering(placement: { readonly factsKeeper: FactsKeeper } | undefined) {
  const keeper = placement?.factsKeeper
  return {
    settings: keeper?.settings ?? [],
    roots: (signal: AbortSignal) => keeper?.knownRoots(signal) ?? nothingKnown(),
    refold: async () => keeper?.refold(),
  }
}

async function* nothingKnown(): AsyncGenerator<readonly KnownRoot[]> {
  yield []
}
