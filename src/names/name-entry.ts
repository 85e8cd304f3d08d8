/** What a name stands for, as the index (KV `<domain>_names`) keeps it: a function of the log alone. */
export interface NameEntry {
  readonly name: string
  /** CIDv1 base32. */
  readonly cid: string
  /**
   * Sequence in the event log of the last event of the name; grows with every change, compare-and-set goes by it. It is that of
   * the event which set it, unless another site's event that it does not descend from came later. Each site has its own.
   */
  readonly revision: number
  /** Content in bytes; null where it is not known (a CID named without reading it). */
  readonly size: number | null
  readonly mediaType: string | null
  readonly owner: string
  /** When it was set, RFC 3339: the event's time. */
  readonly time: string
  /** Where sites changed it without hearing each other: all that stands, first what is served; the same at every site. */
  readonly heads?: readonly NameHead[]
}

/** One of several values of a name; the next change replaces them all. */
export interface NameHead {
  readonly eventId: string
  /** Where it was made. */
  readonly site: string
  /** CIDv1 base32; null = the name was removed there. */
  readonly cid: string | null
  readonly owner: string
  readonly time: string
}

/** One step in the life of a name, from the log. */
export interface NameVersion {
  readonly revision: number
  readonly verb: 'set' | 'removed'
  readonly cid: string | null
  readonly size: number | null
  readonly mediaType: string | null
  readonly owner: string
  readonly time: string
  readonly eventId: string
  readonly previous: number
  /** Where it was made. */
  readonly site: string
  /** Ids of the events that it replaced; null where it does not say. */
  readonly parents: readonly string[] | null
  /** Of how a name stands, where there are several. */
  readonly heads?: readonly NameHead[]
}

/**
 * What a change of a name expects: a revision, that there is none (`'absent'`), or nothing (`'any'`: the last one wins, and
 * the log still knows what it replaced).
 */
export type NameExpectation = RevisionExpectation | 'absent' | 'any'

export interface RevisionExpectation {
  readonly revision: number
  /** What was asked for, where the revision was found by it: `*`, or a list. */
  readonly given?: string
}

export type NameChange =
  | {
      readonly kind: 'set'
      readonly name: string
      readonly cid: string
      readonly size: number | null
      readonly mediaType: string | null
      readonly expect: NameExpectation
    }
  | { readonly kind: 'remove'; readonly name: string; readonly expect: NameExpectation }
