import { setImmediate as breathe } from 'node:timers/promises'
import { type StoreRef, storeKey } from '../blocks/store-ref.ts'
import { AppError, isAppError } from '../errors.ts'
import { mapAhead } from '../lib/streams.ts'
import type { Positions } from '../nats/log-positions.ts'
import type { Facts } from './facts.ts'
import type { Behind, MissingAnswer, MissingAsk } from './missing-messages.ts'
import type { RootFacts } from './model.ts'
import type { Plan } from './plan-model.ts'
import { RangeSearch } from './range-digest.ts'
import type { RootKeys } from './root-keys.ts'

export interface MissingParts {
  readonly site: string
  /** Active sites that are heard now, without this one. */
  readonly peers: () => readonly string[]
  /** Sends one question to a site. @throws AppError NODE_UNREACHABLE, STORE_UNAVAILABLE, REQUEST_INVALID */
  readonly ask: (site: string, ask: MissingAsk, signal: AbortSignal) => Promise<MissingAnswer>
  /** How far the log of this site is. */
  readonly positions: () => Promise<Positions>
  readonly keys: RootKeys
  readonly facts: Pick<Facts, 'get' | 'all'>
  readonly plan: (facts: RootFacts, signal: AbortSignal) => Promise<Plan>
  /** Queues what the plan wants here. */
  readonly reconcile: (key: string, signal: AbortSignal) => Promise<Plan | undefined>
  /** Has the log of a site come in, if it does not. */
  readonly join: (site: string) => Promise<void>
}

/** What one other site has that is not here. */
export interface Comparison {
  readonly site: string
  readonly behind: readonly Behind[]
  /** Root keys that were announced there and are not known here. */
  readonly unknown: readonly string[]
  /** Root keys known here and not there. */
  readonly unknownThere: number
  readonly questions: number
  /** False = it was stopped at the bound on questions: asking again finds the rest. */
  readonly complete: boolean
}

export interface UnplacedRoot extends StoreRef {
  readonly cid: string
  readonly bytes: number | undefined
  readonly rule: string
  readonly why: string
  /** It was asked for, and is on its way. */
  readonly underWay: boolean
}

export interface MissingReport {
  readonly site: string
  readonly asked: readonly ({ readonly site: string } & (
    | { readonly questions: number; readonly complete: boolean; readonly unknownThere: number }
    | { readonly error: string }
  ))[]
  /** Of the sites that tell most. */
  readonly events: readonly (Behind & { readonly toldBy: string })[]
  readonly unknown: {
    readonly count: number
    readonly roots: readonly { readonly key: string; readonly at: string[] }[]
  }
  readonly unplaced: {
    readonly count: number
    readonly bytes: number
    readonly roots: readonly UnplacedRoot[]
    /** False = the time for looking was over: asking again, after the copies, finds the rest. */
    readonly complete: boolean
  }
  /** With `fetch`: copies that were queued, and sites whose logs were asked for. */
  readonly fetched?: { readonly queued: number; readonly joined: readonly string[] }
}

export interface MissingOptions {
  /** Undefined = all that are heard. */
  readonly peer: string | undefined
  readonly fetch: boolean
  readonly signal: AbortSignal
}

/** Questions to one site in one go: some million keys that are all missing, or any number that are not. */
const questionsMax = 2_000
const rootsShownMax = 100
const lookMsMax = 20_000
const looksAhead = 32

/**
 * Asks other sites what this one is missing: events that their logs have and ours has not, roots that were announced there and
 * are not known here, and, out of what is known here, copies that the policy wants here and that are not.
 *
 * What is not known here is never copied at once: its announcement is an event that comes through the log, in its order, and
 * the plan goes by that. A copy made before would be in our log ahead of the content that it is a copy of.
 */
export class Missing {
  readonly #parts: MissingParts

  constructor(parts: MissingParts) {
    this.#parts = parts
  }

  /** @throws AppError REQUEST_INVALID for a peer that is not heard; STORE_UNAVAILABLE */
  async report({ peer, fetch, signal }: MissingOptions): Promise<MissingReport> {
    const { site, peers, join } = this.#parts
    const heard = peers()
    if (peer !== undefined && !heard.includes(peer)) {
      throw new AppError('REQUEST_INVALID', `no site ${JSON.stringify(peer.slice(0, 64))} is heard`, {
        hint: heard.length === 0 ? 'no other site is heard now' : `heard now: ${heard.join(', ')}`,
      })
    }
    const chosen = peer === undefined ? heard : [peer]
    const compared = await Promise.all(
      chosen.map(async (one) => {
        try {
          return await this.compare(one, signal)
        } catch (error) {
          // One that went silent just now does not hide what the others tell.
          if (!signal.aborted && isAppError(error)) return { site: one, error: error.message }
          throw error
        }
      }),
    )
    const told = compared.flatMap((one) => ('error' in one ? [] : one))
    const joined = fetch ? [...new Set(told.flatMap(({ behind }) => behind.map((late) => late.site)))] : []
    for (const late of joined) if (late !== site) await join(late)
    const unplaced = await this.#unplaced(fetch, signal)
    return {
      site,
      asked: compared.map((one) => {
        if ('error' in one) return one
        const { questions, complete, unknownThere } = one
        return { site: one.site, questions, complete, unknownThere }
      }),
      events: eventsOf(told),
      unknown: unknownOf(told),
      unplaced: unplaced.report,
      ...(fetch ? { fetched: { queued: unplaced.queued, joined } } : {}),
    }
  }

  /** Goes over all that one site knows. @throws AppError as `ask`; STORE_UNAVAILABLE */
  async compare(site: string, signal: AbortSignal): Promise<Comparison> {
    const { ask, positions, keys, facts } = this.#parts
    const here = await positions()
    const search = new RangeSearch(await keys.current(signal))
    let behind: readonly Behind[] = []
    let questions = 0
    for (; search.open.length > 0 && questions < questionsMax; questions++) {
      signal.throwIfAborted()
      const answer = await ask(site, { positions: questions === 0 ? here : {}, ranges: search.next() }, signal)
      if (questions === 0) behind = answer.behind
      search.take(answer.ranges)
      await breathe()
    }
    // Our own keys may be some seconds old.
    const unknown: string[] = []
    const looked = mapAhead(search.missing, looksAhead, async (key) => ({ key, known: await facts.get(key, signal) }))
    for await (const { key, known } of looked) if (known === undefined || known.originSite === '') unknown.push(key)
    return { site, behind, unknown, unknownThere: search.extra, questions, complete: search.open.length === 0 }
  }

  async #unplaced(fetch: boolean, signal: AbortSignal) {
    const { facts, plan, reconcile, site } = this.#parts
    const roots: UnplacedRoot[] = []
    const endMs = performance.now() + lookMsMax
    let [count, bytes, queued, complete] = [0, 0, 0, true]
    for await (const page of facts.all(signal)) {
      for (const [key, root] of page) {
        if (root.originSite === '') continue
        const { rule, steps } = await plan(root, signal)
        const adds = steps.filter(({ kind, to }) => kind === 'add' && to.site === site)
        if (adds.length === 0) continue
        for (const { to, why } of adds) {
          const underWay = root.copies.some((copy) => copy.state === 'requested' && storeKey(copy) === storeKey(to))
          count++
          bytes += root.bytes ?? 0
          if (roots.length < rootsShownMax) {
            roots.push({ ...to, cid: root.root, bytes: root.bytes, rule, why, underWay })
          }
        }
        if (!fetch) continue
        await reconcile(key, signal)
        queued += adds.length
      }
      complete = performance.now() < endMs
      if (!complete) break
      await breathe()
    }
    return { report: { count, bytes, roots, complete }, queued }
  }
}

/** Of each site whose events are not all here: the one that tells of most. */
function eventsOf(told: readonly Comparison[]): MissingReport['events'] {
  const most = new Map<string, Behind & { readonly toldBy: string }>()
  for (const { site, behind } of told) {
    for (const late of behind) {
      const known = most.get(late.site)
      const isMore = known === undefined || late.there > known.there
      // The one who wrote them knows how many there are.
      if (isMore || (late.there === known.there && late.events !== undefined))
        most.set(late.site, { ...late, toldBy: site })
    }
  }
  return [...most.values()]
}

function unknownOf(told: readonly Comparison[]): MissingReport['unknown'] {
  const at = new Map<string, string[]>()
  for (const { site, unknown } of told) {
    for (const key of unknown) {
      const sites = at.get(key)
      if (sites === undefined) at.set(key, [site])
      else sites.push(site)
    }
  }
  const roots = [...at].slice(0, rootsShownMax).map(([key, sites]) => ({ key, at: sites }))
  return { count: at.size, roots }
}
