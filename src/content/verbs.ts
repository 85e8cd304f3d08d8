import type { CID } from 'multiformats/cid'
import type { Abortable } from '../blocks/blockstore.ts'
import type { CloudEvent, Context } from '../events/envelope.ts'
import type { ReadContext, ReadEntry as ReadRecord } from '../events/read-event.ts'
import type { NameChange, NameEntry, NameExpectation, NameVersion } from '../names/name-entry.ts'
import type { DirectoryImportOptions, ImportEntry, PutFileOptions } from './put.ts'
import type { PutResult } from './put-result.ts'

// What an entrance needs to speak of these.
export type { Context } from '../events/envelope.ts'
export type { ReadContext, ReadEntry as ReadRecord } from '../events/read-event.ts'
export type { NameChange, NameEntry, NameExpectation, NameVersion } from '../names/name-entry.ts'

/**
 * The verbs of the system: what every entrance (HTTP, NATS, CLI through HTTP) calls, and the only place where blocks, names
 * and events meet. A command's order is: blocks durable → events durable in one atomic commit (the commit point) → index →
 * return. A command that fails after it was accepted leaves a failure event.
 */
export type Upload = (
  | { readonly kind: 'file'; readonly source: AsyncIterable<Uint8Array>; readonly options: PutFileOptions }
  | {
      readonly kind: 'directory'
      readonly entries: AsyncIterable<ImportEntry>
      readonly options: DirectoryImportOptions
    }
  | { readonly kind: 'car'; readonly source: AsyncIterable<Uint8Array>; readonly partial?: boolean }
) & {
  /** Called once the content was read and stored, before anything is committed. @throws what keeps it from being committed */
  readonly verify?: () => Promise<void>
}

export interface PutNamed {
  /** Set in the same commit as object.added. */
  readonly name?: string
  readonly expect?: NameExpectation
  /** Of the content, for the name and for how it is served; undefined = told by name and bytes. */
  readonly mediaType?: string
}

export interface PutOutcome<Root extends CID | undefined = CID> extends PutResult<Root> {
  /** Of the object.added or object.imported event. */
  readonly eventId: string
  readonly sequence: number
  readonly name?: NameEntry
  /** The same command was carried out before: this is its first outcome. */
  readonly repeated: boolean
}

/** Only a CAR can have no root. */
export type OutcomeOf<U extends Upload> = U extends { readonly kind: 'car' } ? PutOutcome<CID | undefined> : PutOutcome

export interface NameOutcome {
  /** The entries after the change; null for a removed name, in the order of the changes. */
  readonly entries: readonly (NameEntry | null)[]
  readonly sequences: readonly number[]
  readonly repeated: boolean
}

export interface DeleteOutcome {
  readonly cid: string
  /** In the commit of the deletion, which holds 254; a deletion that is forced removes all others after it. */
  readonly namesRemoved: readonly string[]
  readonly sequence: number
  readonly repeated: boolean
}

export interface Verbs {
  /** @throws as Put; NAME_INVALID | REVISION_CONFLICT */
  put<U extends Upload>(context: Context, upload: U, options: PutNamed & Abortable): Promise<OutcomeOf<U>>
  /** All changes in one commit. @throws NAME_INVALID | NAME_NOT_FOUND | REVISION_CONFLICT | BLOCK_NOT_FOUND (the root of a set) */
  changeNames(context: Context, changes: readonly NameChange[], options: Abortable): Promise<NameOutcome>
  /** Both names in one commit; `expect` is of the source, the target must be absent unless `replace`. */
  renameName(
    context: Context,
    change: { readonly from: string; readonly to: string; readonly expect: NameExpectation; readonly replace: boolean },
    options: Abortable,
  ): Promise<NameOutcome>
  /** Sets the name to what it was before `revision` (default: its last change), by a new event. */
  undoName(context: Context, name: string, revision: number | undefined, options: Abortable): Promise<NameOutcome>
  /** Out of view: @throws OBJECT_NAMED while names hold it, unless `force`, which removes them in the same commit. */
  deleteObject(context: Context, cid: CID, options: Abortable & { readonly force: boolean }): Promise<DeleteOutcome>

  /** `docs/a.txt`, `docs/a.txt@<revision>`, `docs/a.txt@<RFC 3339 time>`. @throws NAME_INVALID | NAME_NOT_FOUND */
  resolveName(reference: string, options: Abortable): Promise<NameEntry>
  /** Oldest first. `after` is `next` of the page before, the revision of its last version. @throws NAME_NOT_FOUND */
  nameHistory(
    name: string,
    options: Abortable & { readonly limit: number; readonly after?: number },
  ): Promise<{ readonly versions: readonly NameVersion[]; readonly next?: number }>
  /** In the order of their UTF-8 bytes. `cursor` is the last name of the page before. */
  listNames(
    prefix: string,
    options: Abortable & { readonly limit: number; readonly cursor?: string },
  ): Promise<{ readonly names: readonly NameEntry[]; readonly next?: string }>
  namesOf(cid: CID, options: Abortable): Promise<readonly NameEntry[]>
}

/** The root is out of view: its answer is OBJECT_DELETED. Any spelling of the CID. @throws AppError STORE_UNAVAILABLE */
export type IsDeleted = (root: CID, options: Abortable) => Promise<boolean>

/** Recording never waits and never fails. */
export interface ReadLog {
  read(context: ReadContext, record: ReadRecord): void
}

export interface EventFilter {
  readonly entity?: string
  readonly verb?: string
  readonly namePrefix?: string
  readonly cid?: string
  readonly owner?: string
  readonly correlation?: string
}

export interface StoredEvent {
  readonly sequence: number
  readonly event: CloudEvent
}

export interface EventFeed {
  /** History from `after` (exclusive; 0 = the beginning), then live, without gap or repeat, until the signal aborts. */
  follow(
    filter: EventFilter,
    after: number,
    options: Abortable & { readonly live: boolean },
  ): AsyncIterable<StoredEvent>
  /** The sequence before the first event at or after this time. */
  sequenceBefore(time: Date, options: Abortable): Promise<number>
  last(options: Abortable): Promise<number>
}
