import { createHash } from 'node:crypto'
import { AppError } from '../errors.ts'
import { canonicalJson, type Json } from '../events/canonical.ts'
import type { Context } from '../events/envelope.ts'
import type { NameExpectation } from '../names/name-entry.ts'
import type { Recorded } from './command-log.ts'
import { fitsOlder } from './older-command.ts'

// The id of a command stands for one thing: what one principal asked for. Whoever uses it for anything else is told so, and
// never gets the outcome of the first.

/** What an id of a command may be: it goes into subjects, headers and keys. */
export function checkCommandId(id: string): void {
  if (/^[\w.:+/=@-]{1,128}$/.test(id)) return
  throw new AppError('REQUEST_INVALID', 'the id of a command is 1-128 letters, digits or any of _.:+/=@-')
}

/**
 * The id of the first event that the command leaves. Ids of events are unique over all principals, those of commands are not: what
 * is in a scope becomes a UUIDv8 of both.
 */
export function eventIdOf({ id, fresh, idScope }: Pick<Context, 'id' | 'fresh' | 'idScope'>): string {
  if (fresh === true || idScope === undefined) return id
  const hex = createHash('sha256')
    .update(`command ${JSON.stringify([idScope, id])}`)
    .digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

/** SHA-256 in base64url of what is asked and for whom, as the log keeps it. */
export function askedDigest({ owner }: Pick<Context, 'owner'>, asked: Json): string {
  return createHash('sha256').update(canonicalJson({ owner, asked })).digest('base64url')
}

/** A condition as it was asked, which is the same when it is asked again: not what it was found to mean at the time. */
export function askedExpectation(expect: NameExpectation): Json {
  return typeof expect === 'string' ? expect : (expect.given ?? expect.revision)
}

/**
 * Whether the command that left these events asked for the same, for the same principal. Events of older versions do not say
 * what was asked: of those all that they show has to fit (`older-command.ts`).
 * @param asked of this command; called only where it is needed @throws AppError COMMAND_ID_TAKEN; what `asked` throws
 */
export async function checkSame(
  events: readonly Recorded[],
  context: Pick<Context, 'principal' | 'owner'>,
  asked: () => Promise<Json>,
): Promise<void> {
  const first = events[0]?.event
  if (first === undefined || first.authid !== context.principal) throw idTaken()
  const { asked: digest } = first.data
  const isSame =
    digest === undefined ? fitsOlder(events, context, await asked()) : digest === askedDigest(context, await asked())
  if (!isSame) throw idTaken()
}

export function idTaken(): AppError {
  return new AppError('COMMAND_ID_TAKEN', 'this id belongs to another command, which asked for something else', {
    hint: 'nothing was done: use a new id for a new command, and the same one only to send the same command again',
  })
}
