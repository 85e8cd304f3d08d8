import type { CloudEvent } from '../events/envelope.ts'

/**
 * Puts and deletions of one root come from several sites, and each log takes those of different sites up in an order of its own.
 * So no log's order decides between sites: of each site its last word counts (the events of one site keep their order in every
 * log), and among the sites the latest one. A word is later than all that its site's log had of the others, whatever the clocks
 * say: then it names their time (`after`).
 */
export interface Word {
  readonly deleted: boolean
  /** In ms since 1970. Of all that the site said of the root the latest: its words do not become older. */
  readonly atMs: number
}

/** By site. */
export type Words = Readonly<Record<string, Word>>

/** What an event says of one root. */
export interface ObjectEffect extends Word {
  readonly kind: 'object'
  /** See `rootKey`. */
  readonly root: string
  readonly cid: string
  readonly site: string
  readonly revision: number
  /** Of the event. */
  readonly time: string
}

/** Of events from before there was `after` the time alone. */
export function saidAtMs({ time, data }: Pick<CloudEvent, 'time' | 'data'>): number {
  const afterMs = typeof data.after === 'string' ? Date.parse(data.after) || 0 : 0
  return Math.max(Date.parse(time) || 0, afterMs + 1)
}

/** What an event is to carry to be later than that; undefined = it need not. */
export const laterThan = (after: string | undefined): { readonly after?: string } =>
  after === undefined ? {} : { after }

/** Of two sites that have said something at the same time the one that put it: nothing is lost from sight. */
function isLater(a: Word & { readonly site: string }, b: Word & { readonly site: string }): boolean {
  if (a.atMs !== b.atMs) return a.atMs > b.atMs
  return a.deleted === b.deleted ? a.site > b.site : b.deleted
}

/** @param word is behind all that the site has said so far */
export function withWord(words: Words, site: string, word: Word): Words {
  return { ...words, [site]: { deleted: word.deleted, atMs: Math.max(word.atMs, words[site]?.atMs ?? 0) } }
}

export function isDeletedBy(words: Words): boolean {
  const all = Object.entries(words).map(([site, word]) => ({ site, ...word }))
  return all.reduce((last, word) => (isLater(word, last) ? word : last), all[0] ?? neverDeleted).deleted
}

const neverDeleted = { site: '', deleted: false, atMs: 0 }

/** The last word of each site, in the order in which they were heard first. */
export type ObjectLife = readonly ObjectEffect[]

/** In whatever order, and as often as one likes. */
export function withEffect(life: ObjectLife, effect: ObjectEffect): ObjectLife {
  const known = life.find(({ site }) => site === effect.site)
  if (known === undefined) return [...life, effect]
  const last = known.revision >= effect.revision ? known : effect
  const merged = { ...last, atMs: Math.max(known.atMs, effect.atMs) }
  return life.map((one) => (one === known ? merged : one))
}

/**
 * How the root stands after these words, with the revision of the newest event, whichever word counts: it only grows.
 * Undefined = nothing was said.
 */
export function standingOfObject(life: ObjectLife): ObjectEffect | undefined {
  const [first, ...others] = life
  if (first === undefined) return undefined
  const counts = others.reduce((last, word) => (isLater(word, last) ? word : last), first)
  return { ...counts, revision: Math.max(...life.map(({ revision }) => revision)) }
}
