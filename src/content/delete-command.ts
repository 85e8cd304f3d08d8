import type { CID } from 'multiformats/cid'
import type { Blockstore } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'
import { link } from '../events/canonical.ts'
import type { Reach } from '../lib/crash-point.ts'
import { rootKey } from '../names/name-fold.ts'
import type { Names } from '../names/names.ts'
import { type CommandLog, commandKey, type Step } from './command-log.ts'
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

/** Takes a root out of view; its blocks stay. */
export function createDeleteCommand(parts: DeleteCommandParts, decide: Decide): Verbs['deleteObject'] {
  const { blocks, names, commands, reach } = parts
  const { domain, space } = names.source
  return async (context, cid, { signal, force }) => {
    const key = cid.toV1().toString()
    const { events, repeated } = await commands.carryOut(context, {
      failure: { entity: 'object', verb: 'delete', key: commandKey(context), subject: key },
      filters: () => [`${domain}.evt.*.${space}.object.deleted.${key}`],
      signal,
      work: async () => {
        if (names.deleted.has(cid)) throw objectDeleted(cid)
        if (!(await blocks.has(cid, { signal }))) throw new AppError('BLOCK_NOT_FOUND', `${cid} is not stored here`)
        const affected = (await names.index.namesOf(cid, signal)).map(({ name }) => name)
        checkNamed(cid, affected, force)
        const commit = (steps: readonly Step[]) => {
          reach('delete-decided')
          return commands.commit(context, steps, (at) => reach(`delete-${at}`))
        }
        return decide(
          affected,
          true,
          (heads) => {
            // One that was given to other content meanwhile keeps it.
            const holding = heads.filter((head) => presentOf(head) !== undefined && holds(contentOf(head).cid, cid))
            const data = { cid: link(cid), names: holding.map(({ name }) => name) }
            const deleted: Step = { draft: { entity: 'object', verb: 'deleted', key, subject: key, data } }
            return [deleted, ...holding.map((head) => removeStep(head))]
          },
          commit,
          signal,
        )
      },
    })
    return deleteOutcome(events, repeated)
  }
}

const holds = (a: CID, b: CID): boolean => rootKey(a) === rootKey(b)

/** @throws AppError OBJECT_NAMED | LIMIT_EXCEEDED */
function checkNamed(cid: CID, affected: readonly string[], force: boolean): void {
  if (affected.length > 0 && !force) {
    const shown = affected.slice(0, 5).map((name) => JSON.stringify(name))
    const more = affected.length > shown.length ? ` and ${affected.length - shown.length} more` : ''
    throw new AppError('OBJECT_NAMED', `${cid} is named ${shown.join(', ')}${more}`, {
      hint: 'remove the names first, or force it, which removes them too',
    })
  }
  if (affected.length < changesMax) return
  throw new AppError('LIMIT_EXCEEDED', `${cid} has more than ${changesMax - 1} names`, {
    hint: 'remove some of them first',
  })
}
