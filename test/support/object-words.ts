import { CID } from 'multiformats/cid'
import { canonicalJson, type Json, link } from '../../src/events/canonical.ts'
import { type Context, encodeEvent } from '../../src/events/envelope.ts'
import { emptyState, foldMessage, imageOf, type LogMessage, rootKey } from '../../src/names/name-fold.ts'
import { rootEffects } from '../../src/placement/fold.ts'
import type { RootFacts } from '../../src/placement/model.ts'
import { rootNamed } from './placement.ts'

const cid = rootNamed('said')
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
