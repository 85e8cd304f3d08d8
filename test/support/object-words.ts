import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { canonicalJson, type Json, link } from '../../src/events/canonical.ts'
import { type Context, encodeEvent } from '../../src/events/envelope.ts'
import { emptyState, foldMessage, imageOf, type LogMessage, readMessage, rootKey } from '../../src/names/name-fold.ts'
import { laterThan, type ObjectLife, withEffect } from '../../src/names/object-life.ts'
import { rootEffects } from '../../src/placement/fold.ts'
import type { RootFacts } from '../../src/placement/model.ts'
import { rootNamed } from './placement.ts'

export const cid = rootNamed('said')
export const root = rootKey(CID.parse(cid))
const context: Context = {
  ...{ id: 'c', correlation: 'c', causation: undefined, owner: 'ann', principal: 'ann' },
  ...{ via: 'node', traceparent: undefined },
}

/** An event of one site about the one root, without its place in a log. */
export type Said = Omit<LogMessage, 'sequence'> & { readonly site: string }

export function said(site: string, verb: 'added' | 'deleted' | 'lost', atMs: number, after?: string): Said {
  const source = { domain: 'stowage', site, space: 'main', node: 'n' }
  const data = { cid: link(cid), store: 'a', ...(after === undefined ? {} : { after }) }
  const draft = { entity: 'object', verb, key: cid, subject: cid, data } as const
  const { natsSubject, event } = encodeEvent(draft, context, source)
  const dated = { ...event, time: new Date(atMs).toISOString() } as unknown as Json
  return { site, subject: natsSubject, payload: Buffer.from(canonicalJson(dated)) }
}

export const logOf = (all: readonly Said[]): LogMessage[] => all.map((one, index) => ({ ...one, sequence: index + 1 }))

export function factsOf(messages: readonly LogMessage[], before?: RootFacts): RootFacts | undefined {
  return messages.flatMap(rootEffects).reduce<RootFacts | undefined>((facts, effect) => effect.apply(facts), before)
}

export const lifeIn = (messages: readonly LogMessage[]): ObjectLife =>
  messages
    .flatMap((message) => readMessage(message)?.effects ?? [])
    .flatMap((effect) => (effect.kind === 'object' ? [effect] : []))
    .reduce<ObjectLife>(withEffect, [])

/** By the index of what was deleted, folded from the whole log. */
export function isInIndex(messages: readonly LogMessage[]): boolean {
  return imageOf(messages.reduce(foldMessage, emptyState())).deleted.has(root)
}

/** Every order that keeps that of each list. */
export function* merges<T>(lists: readonly (readonly T[])[]): Generator<T[]> {
  if (lists.every((list) => list.length === 0)) yield []
  for (const [at, [first, ...rest]] of lists.entries()) {
    if (first === undefined) continue
    for (const more of merges(lists.with(at, rest))) yield [first, ...more]
  }
}

export const siteNames = ['hub', 'paris', 'rome']

/** What may happen at a site: something is said there, or it takes up what another one has said so far. */
export const step = fc.record({
  site: fc.constantFrom(0, 1, 2),
  does: fc.constantFrom('added', 'deleted', 'hears'),
  from: fc.constantFrom(0, 1, 2),
  /** Clocks of the nodes of one site may differ too. */
  atMs: fc.integer({ min: 1, max: 12 }).map((seconds) => Date.parse('2026-01-01T00:00:00Z') + 1000 * seconds),
})

/** Sites with logs of their own, which say what they say as the commands do: later than what they have heard. */
export class Domain {
  readonly own: Said[][] = [[], [], []]
  readonly logs: Said[][] = [[], [], []]
  readonly #names: boolean

  constructor(namesWhatItHeard: boolean) {
    this.#names = namesWhatItHeard
  }

  does({ site, does, from, atMs }: { site: number; does: string; from: number; atMs: number }): void {
    if (does === 'hears') this.hear(site, from)
    else this.say(site, does as 'added' | 'deleted', atMs)
  }

  say(site: number, verb: 'added' | 'deleted', atMs: number): void {
    const name = siteNames[site] ?? ''
    const life = lifeIn(logOf(this.logs[site] ?? []))
    const elsewhere = life.filter((effect) => effect.site !== name).map((effect) => effect.atMs)
    const isNamed = this.#names && elsewhere.length > 0
    const { after } = laterThan(isNamed ? new Date(Math.max(...elsewhere)).toISOString() : undefined)
    const event = said(name, verb, atMs, after)
    this.own[site]?.push(event)
    this.logs[site]?.push(event)
  }

  hear(site: number, from: number): void {
    const log = this.logs[site]
    for (const event of this.own[from] ?? []) if (log?.includes(event) === false) log.push(event)
  }

  hearAll(): void {
    for (const site of [0, 1, 2]) for (const from of [0, 1, 2]) this.hear(site, from)
  }
}
