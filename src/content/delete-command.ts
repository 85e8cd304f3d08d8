import { CID } from 'multiformats/cid'
import type { Blockstore } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'
import { link } from '../events/canonical.ts'
import type { Context } from '../events/envelope.ts'
import type { Reach } from '../lib/crash-point.ts'
import { uuidv7 } from '../lib/uuid.ts'
import { readMessage, rootKey } from '../names/name-fold.ts'
import type { Names } from '../names/names.ts'
import { laterThan } from '../names/object-life.ts'
import { isOutOfView } from '../names/view.ts'
import { type CommandLog, commandKey, type Recorded, type Step } from './command-log.ts'
import { changesMax, type Decide, objectDeleted } from './name-commands.ts'
import { contentOf, presentOf, removeStep } from './name-plan.ts'
import { deleteOutcome } from './outcome.ts'
import type { Verbs } from './verbs.ts'

export interface DeleteCommandParts {
  readonly blocks: Pick<Blockstore, 'has'>
  readonly names: Names
  readonly commands: CommandLog
  readonly reach: Reach
}

/** How long before a deletion a name may have been set that the index did not know yet: it is written within milliseconds. */
const indexBehindMs = 5_000

/**
 * Takes a root out of view; its blocks stay. A name that is set meanwhile keeps it in view (names/view.ts); where the
 * deletion is forced, such a name is removed too if it is before the deletion in the log, by a commit of its own. So are
 * names beyond those that fit into the commit of the deletion; the outcome tells the names of that commit.
 */
export function createDeleteCommand(parts: DeleteCommandParts, decide: Decide): Verbs['deleteObject'] {
  const { blocks, names, commands, reach } = parts
  const { domain, space } = names.source
  return async (context, cid, { signal, force }) => {
    const key = cid.toV1().toString()
    const { events, repeated } = await commands.carryOut(context, {
      failure: { entity: 'object', verb: 'delete', key: commandKey(context), subject: key },
      filters: () => [`${domain}.evt.*.${space}.object.deleted.${key}`],
      signal,
      asked: () => ({ verb: 'delete', root: rootKey(cid), force }),
      work: async (commit) => {
        if (await isOutOfView(names, cid, signal)) throw objectDeleted(cid)
        if (!(await blocks.has(cid, { signal }))) throw new AppError('BLOCK_NOT_FOUND', `${cid} is not stored here`)
        const affected = (await names.index.namesOf(cid, signal)).map(({ name }) => name)
        if (!force) checkNotNamed(cid, affected)
        const after = await names.objects.latestElsewhere([cid], signal)
        const commitSteps = (steps: readonly Step[]) => {
          reach('delete-decided')
          return commit(steps, (at) => reach(`delete-${at}`))
        }
        return decide(
          // Those that do not fit into this commit go as the overtaken do.
          affected.slice(0, changesMax - 1),
          true,
          (heads) => {
            // One that was given to other content meanwhile keeps it.
            const holding = heads.filter((head) => presentOf(head) !== undefined && holds(contentOf(head).cid, cid))
            const data = { cid: link(cid), names: holding.map(({ name }) => name), ...laterThan(after) }
            const deleted: Step = { draft: { entity: 'object', verb: 'deleted', key, subject: key, data } }
            return [deleted, ...holding.map((head) => removeStep(head))]
          },
          commitSteps,
          signal,
        )
      },
    })
    const outcome = deleteOutcome(events, repeated)
    // Of a repeat too: the first run may have ended before it came to this.
    if (force) await removeOvertaken(parts, decide, context, cid, events[0], signal)
    return outcome
  }
}

/** The names that were set after the command had looked and before it was committed, and those that it had no room for. */
async function removeOvertaken(
  { names, commands, reach }: DeleteCommandParts,
  decide: Decide,
  context: Context,
  cid: CID,
  deletion: Recorded | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (deletion === undefined) return
  const { event, sequence } = deletion
  const overtaken = [...(await namesBefore(names, cid, deletion, signal))]
  for (let at = 0; at < overtaken.length; at += changesMax) {
    await decide(
      overtaken.slice(at, at + changesMax),
      true,
      (heads) => {
        const set = heads.filter((head) => (presentOf(head)?.revision ?? sequence) < sequence)
        return set.filter((head) => holds(contentOf(head).cid, cid)).map((head) => removeStep(head))
      },
      async (steps) => {
        const cause = { ...context, id: uuidv7(), fresh: true, causation: event.id }
        return steps.length === 0 ? [] : commands.commit(cause, steps, (at) => reach(`delete-${at}`))
      },
      signal,
    )
  }
}

/** That hold the root by the index, or by the log just before the deletion. */
async function namesBefore(names: Names, cid: CID, { event, sequence }: Recorded, signal: AbortSignal) {
  const found = new Set((await names.index.namesOf(cid, signal)).map(({ name }) => name))
  const { domain, space } = names.source
  const since = new Date(Date.parse(event.time) - indexBehindMs)
  for await (const message of names.reader.since(`${domain}.evt.*.${space}.name.set.>`, since, signal)) {
    if (message.sequence > sequence) break
    for (const effect of readMessage(message)?.effects ?? []) {
      if (effect.kind === 'name' && effect.entry !== null && holds(CID.parse(effect.entry.cid), cid)) {
        found.add(effect.name)
      }
    }
  }
  return found
}

const holds = (a: CID, b: CID): boolean => rootKey(a) === rootKey(b)

/** @throws AppError OBJECT_NAMED */
function checkNotNamed(cid: CID, affected: readonly string[]): void {
  if (affected.length === 0) return
  const shown = affected.slice(0, 5).map((name) => JSON.stringify(name))
  const more = affected.length > shown.length ? ` and ${affected.length - shown.length} more` : ''
  throw new AppError('OBJECT_NAMED', `${cid} is named ${shown.join(', ')}${more}`, {
    hint: 'remove the names first, or force it, which removes them too',
  })
}
