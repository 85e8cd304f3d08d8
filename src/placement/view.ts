import type { StoreRef } from '../blocks/store-ref.ts'
import type { Nats } from '../nats/connection.ts'
import type { KvBucket } from '../nats/kv-bucket.ts'
import type { Beats } from './beats.ts'
import type { Inventory, ProjectionRecord, SiteRecord, StoreRecord } from './model.ts'
import type { StoreSettings } from './place-events.ts'
import { Planner, type PlanOptions } from './plan.ts'
import type { Policy } from './plan-model.ts'
import { type CompiledPolicy, compilePolicy } from './policy.ts'
import { Records } from './records.ts'
import { isGone } from './steward.ts'

export interface ViewParts {
  readonly nats: Nats
  readonly placement: KvBucket
  readonly policy: KvBucket
  readonly space: string
  readonly site: string
  readonly beats: Pick<Beats, 'silenceMs' | 'lastOf'>
  /** A site that is silent for so long is taken for down. */
  readonly downAfterMs: number
  readonly planOptions?: Omit<PlanOptions, 'nowMs'>
  /** What plans go by has changed: a site, a store, the policy; not mere sizes. */
  readonly onChange: () => void
  /** Projections have changed: that concerns some roots only. */
  readonly onProjections?: () => void
}

type PolicyRecord = { readonly policy: Policy; readonly revision: number; readonly time: string }

const lookEveryMs = 500
const plannerKeptMs = 500
/** A site that is there says so every two seconds. */
export const heardWithinMs = 5_000

/** Sites, stores, policy and projections as this node knows them now. */
export class PlacementView {
  readonly #parts: ViewParts
  readonly #sites: Records<SiteRecord>
  readonly #stores: Records<StoreSettings>
  readonly #projections: Records<ProjectionRecord>
  readonly #policies: Records<PolicyRecord>
  readonly #timer: NodeJS.Timeout
  readonly #startedMs = performance.now()
  #up = ''
  #kept: { readonly sinceMs: number; readonly current: ReturnType<PlacementView['planner']> } | undefined
  #compiled: { readonly revision: number; readonly policy: CompiledPolicy } | undefined

  constructor(parts: ViewParts) {
    const { nats, placement, policy, space } = parts
    this.#parts = parts
    const onChange = () => this.#changed()
    this.#sites = new Records(nats, placement, 'site.>', onChange)
    this.#stores = new Records(nats, placement, `${space}.store.>`, onChange)
    this.#projections = new Records(nats, placement, `${space}.projection.>`, parts.onProjections ?? onChange)
    this.#policies = new Records(nats, policy, space, onChange)
    this.#timer = setInterval(() => this.#look(), lookEveryMs)
    this.#timer.unref()
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    for (const records of [this.#sites, this.#stores, this.#projections, this.#policies]) await records.close()
  }

  /** Sites, stores, policy and projections are known as they were at the start, and since. */
  get isReady(): boolean {
    return [this.#sites, this.#stores, this.#projections, this.#policies].every(({ isReady }) => isReady)
  }

  /** Ready, and the sites have been heard or have had the time for it: before that they all look down. */
  get isKnown(): boolean {
    return this.isReady && (this.areHeard || performance.now() - this.#startedMs > heardWithinMs)
  }

  get areHeard(): boolean {
    const { site: here } = this.#parts
    return this.sites.every(({ site, state }) => site === here || state !== 'active' || this.isUp(site))
  }

  get sites(): readonly SiteRecord[] {
    return this.#sites.all
  }

  get projections(): readonly ProjectionRecord[] {
    return this.#projections.all
  }

  /** The policy of the space, and the revision of the event that set it; undefined while none was set. */
  get policy(): PolicyRecord | undefined {
    return this.#policies.get(this.#parts.space)
  }

  get compiledPolicy(): CompiledPolicy {
    const { policy } = this
    const revision = policy?.revision ?? 0
    if (this.#compiled?.revision !== revision) this.#compiled = { revision, policy: compilePolicy(policy?.policy) }
    return this.#compiled.policy
  }

  isUp(site: string): boolean {
    return this.#parts.beats.silenceMs(site) < this.#parts.downAfterMs
  }

  /** Whether this node runs for so long that it would have heard every site that is there. */
  get hasListened(): boolean {
    return this.isReady && performance.now() - this.#startedMs > Math.max(heardWithinMs, this.#parts.downAfterMs)
  }

  /** See `isGone` of steward.ts. */
  isGone(at: StoreRef): boolean {
    return this.hasListened && isGone(at, this.inventory())
  }

  /** Infinity = never heard since this node runs. */
  silenceMs(site: string): number {
    return this.#parts.beats.silenceMs(site)
  }

  /** Where to ask for a site's JetStream. */
  domainOf(site: string): string {
    return this.#sites.get(`site.${site}`)?.jetstreamDomain ?? site
  }

  store(site: string, store: string): StoreSettings | undefined {
    return this.#stores.get(`${this.#parts.space}.store.${site}.${store}`)
  }

  inventory(): Inventory {
    return {
      sites: this.#sites.all.map((site) => ({ ...site, up: this.isUp(site.site) })),
      stores: this.#stores.all.map((store): StoreRecord => {
        const said = this.#parts.beats.lastOf(store.site)?.stores.find(({ store: name }) => name === store.store)
        return { ...store, freeBytes: said?.freeBytes, usedBytes: said?.usedBytes ?? 0 }
      }),
    }
  }

  /** `nowMs` undefined = now; a planner is kept for a moment then, since what it makes of an inventory costs more than a plan. */
  planner(nowMs?: number): { readonly planner: Planner; readonly inventory: Inventory } {
    if (nowMs !== undefined) return this.#plannerAt(nowMs)
    if (this.#kept === undefined || performance.now() - this.#kept.sinceMs > plannerKeptMs) {
      this.#kept = { sinceMs: performance.now(), current: this.#plannerAt(Date.now()) }
    }
    return this.#kept.current
  }

  #plannerAt(nowMs: number): { readonly planner: Planner; readonly inventory: Inventory } {
    const inventory = this.inventory()
    return { planner: new Planner(this.compiledPolicy, inventory, { ...this.#parts.planOptions, nowMs }), inventory }
  }

  #changed(): void {
    this.#kept = undefined
    this.#parts.onChange()
  }

  /** Sites come and go by being heard or not: nothing is written for that to be noticed. */
  #look(): void {
    const sites = this.#sites.all
    // What went with a site that was removed is told by who has listened long enough to know that it is silent.
    const isSilenceKnown = this.hasListened && sites.some(({ state }) => state === 'removed')
    const up = [...sites.map(({ site }) => `${site}=${this.isUp(site)}`), isSilenceKnown].join()
    if (up === this.#up) return
    this.#up = up
    this.#changed()
  }
}
