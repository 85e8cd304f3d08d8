import { CID } from 'multiformats/cid'
import type { Abortable } from '../blocks/blockstore.ts'
import type { DagSource } from '../dag/open-links.ts'
import type { DagLimits } from '../dag/target.ts'
import { AppError, isAppError } from '../errors.ts'
import type { Json } from '../events/canonical.ts'
import type { Context } from '../events/envelope.ts'
import type { Reach } from '../lib/crash-point.ts'
import { KeyedLock } from '../lib/keyed-lock.ts'
import { checkName, nameKey } from '../names/name.ts'
import type { NameChange, NameExpectation } from '../names/name-entry.ts'
import { entryOfVersion, standingOf } from '../names/name-heads.ts'
import type { Head } from '../names/name-log.ts'
import type { Names } from '../names/names.ts'
import { isOutOfView } from '../names/view.ts'
import { askedExpectation } from './command-id.ts'
import { type CommandLog, failureKey, type Recorded, type Step } from './command-log.ts'
import type { Get } from './get.ts'
import { checkMediaType } from './media-type.ts'
import { checkExpectation, contentOf, nameNotFound, removeStep, setStep, showHeads } from './name-plan.ts'
import { nameOutcome } from './outcome.ts'
import type { NameOutcome } from './verbs.ts'
import { requireWhole } from './whole-root.ts'

export interface NameCommandParts {
  readonly get: Pick<Get, 'open'>
  readonly blocks: DagSource
  readonly limits: DagLimits
  readonly names: Names
  readonly commands: CommandLog
  readonly reach: Reach
}

export const changesMax = 255
const attemptsMax = 100

/** Commits what `plan` makes of the heads of some names; anew when somebody else was faster and the caller takes anything. */
export type Decide = (
  names: readonly string[],
  retry: boolean,
  plan: (heads: readonly Head[]) => readonly Step[],
  commit: (steps: readonly Step[]) => Promise<readonly Recorded[]>,
  signal: AbortSignal,
) => Promise<readonly Recorded[]>

export function createDecide(names: Names): Decide {
  const lock = new KeyedLock()
  return (affected, retry, plan, commit, signal) => {
    const headsNow = () => names.log.heads(affected, signal)
    const attempts = async (most: number) => {
      for (let left = most; ; left--) {
        const heads = await headsNow()
        try {
          return await commit(plan(heads))
        } catch (error) {
          const conflict = isAppError(error, 'REVISION_CONFLICT')
          // The log's own refusal has a cause; what the plan refuses would be refused again.
          if (conflict && error.cause !== undefined && left > 1) continue
          if (conflict) await showHeads(names, error.cause === undefined ? heads : await headsNow())
          throw error
        }
      }
    }
    // Those of this node go one after the other, so that they do not make each other fail.
    return retry ? lock.run(affected, () => attempts(attemptsMax)) : attempts(1)
  }
}

export function createNameCommands(parts: NameCommandParts, decide: Decide) {
  const { get, names, commands, blocks, limits, reach } = parts

  async function carryOut(
    context: Context,
    verb: string,
    affected: readonly string[],
    asked: Json,
    retry: boolean,
    makePlan: () => Promise<(heads: readonly Head[]) => readonly Step[]>,
    { signal }: Abortable,
  ): Promise<NameOutcome> {
    const [first = ''] = affected
    const { events, repeated } = await commands.carryOut(context, {
      failure: { entity: 'name', verb, key: failureKey(nameKey(first)), subject: first },
      filters: () => affected.map((name) => names.log.filter(name)),
      signal,
      asked: () => ({ verb, ...(asked as object) }),
      // What the plan finds wrong is a failure of the command, and recorded as one.
      work: async (commit) => {
        const plan = await makePlan()
        const commitSteps = (steps: readonly Step[]) => {
          reach('names-decided')
          return commit(steps, (at) => reach(`names-${at}`))
        }
        return decide(affected, retry, plan, commitSteps, signal)
      },
    })
    return nameOutcome(events, repeated)
  }

  const planOne = (change: NameChange, head: Head): Step => {
    checkExpectation(head, change.expect)
    if (change.kind === 'remove') return removeStep(head)
    return setStep(head, { cid: CID.parse(change.cid), size: change.size, mediaType: change.mediaType })
  }

  return {
    async changeNames(context: Context, changes: readonly NameChange[], options: Abortable): Promise<NameOutcome> {
      const affected = changes.map(({ name }) => name)
      checkNames(affected)
      for (const change of changes) if (change.kind === 'set') checkMediaType(change.mediaType)
      const retry = changes.some(({ expect }) => expect === 'any')
      const makePlan = async () => {
        const roots = new Set(changes.flatMap((change) => (change.kind === 'set' ? [change.cid] : [])))
        const sizes = new Map(
          await Promise.all(Array.from(roots, async (cid) => [cid, await sizeOf(cid, options)] as const)),
        )
        const sized = changes.map((change) =>
          change.kind === 'set' ? { ...change, size: change.size ?? sizes.get(change.cid) ?? null } : change,
        )
        return (heads: readonly Head[]) => sized.map((change, at) => planOne(change, headAt(heads, at)))
      }
      return carryOut(context, 'change', affected, { changes: changes.map(askedChange) }, retry, makePlan, options)
    },

    renameName(
      context: Context,
      change: {
        readonly from: string
        readonly to: string
        readonly expect: NameExpectation
        readonly replace: boolean
      },
      options: Abortable,
    ): Promise<NameOutcome> {
      const { from, to, expect, replace } = change
      checkNames([to, from])
      const plan = (heads: readonly Head[]) => {
        const [target, source] = [headAt(heads, 0), headAt(heads, 1)]
        checkExpectation(source, expect)
        const content = contentOf(source)
        if (!replace) checkExpectation(target, 'absent')
        return [setStep(target, content, { renamedFrom: from }), removeStep(source, { renamedTo: to })]
      }
      const asked = { from, to, expect: askedExpectation(expect), replace }
      return carryOut(context, 'rename', [to, from], asked, expect === 'any', async () => plan, options)
    },

    async undoName(
      context: Context,
      name: string,
      revision: number | undefined,
      options: Abortable,
    ): Promise<NameOutcome> {
      checkNames([name])
      const makePlan = async () => {
        const history = await names.log.history(name, options.signal)
        const undone =
          revision === undefined ? history.at(-1) : history.find((version) => version.revision === revision)
        if (undone === undefined) throw nameNotFound(revision === undefined ? name : `${name}@${revision}`)
        const entry = entryOfVersion(name, standingOf(history.slice(0, history.indexOf(undone))))
        const more = { undoes: undone.revision }
        return (heads: readonly Head[]) => {
          const head = headAt(heads, 0)
          // Without a revision it is the change that the caller has seen last, not one that came meanwhile.
          if (revision === undefined && head.version?.revision !== undone.revision) {
            throw new AppError('REVISION_CONFLICT', `${name} was changed meanwhile`, { hint: 'look at its history' })
          }
          if (entry === undefined) return [removeStep(head, more)]
          return [setStep(head, { ...entry, cid: CID.parse(entry.cid) }, more)]
        }
      }
      return carryOut(context, 'undo', [name], { name, revision: revision ?? null }, true, makePlan, options)
    },
  }

  /**
   * Content bytes of what the CID names; null for a directory.
   * @throws AppError BLOCK_NOT_FOUND | OBJECT_DELETED | CID_INVALID | REQUEST_INVALID (a part)
   */
  async function sizeOf(text: string, options: Abortable): Promise<number | null> {
    const cid = parsed(text)
    if (await isOutOfView(names, cid, options.signal)) throw objectDeleted(cid)
    const target = await get.open({ root: cid, segments: [] }, options)
    await requireWhole(cid, { objects: names.objects, blocks, limits }, options)
    return target.kind === 'directory' ? null : Number(target.size)
  }
}

/** Without the size, which is looked up and not asked for. */
function askedChange(change: NameChange): Json {
  const { kind, name } = change
  const expect = askedExpectation(change.expect)
  if (change.kind === 'remove') return { kind, name, expect }
  return { kind, name, expect, cid: change.cid, mediaType: change.mediaType }
}

export function objectDeleted(cid: CID): AppError {
  return new AppError('OBJECT_DELETED', `${cid} was deleted`, { hint: 'put it again to bring it back' })
}

function parsed(text: string): CID {
  try {
    return CID.parse(text)
  } catch (cause) {
    throw new AppError('CID_INVALID', `${JSON.stringify(text.slice(0, 100))} is not a CID`, { cause })
  }
}

function headAt(heads: readonly Head[], at: number): Head {
  const head = heads[at]
  if (head === undefined) throw new AppError('INTERNAL', 'a name without its head')
  return head
}

function checkNames(names: readonly string[]): void {
  if (names.length === 0) throw new AppError('REQUEST_INVALID', 'no change of a name')
  if (names.length > changesMax) throw new AppError('LIMIT_EXCEEDED', `more than ${changesMax} names in one commit`)
  for (const name of names) checkName(name)
  if (new Set(names).size < names.length) throw new AppError('REQUEST_INVALID', 'a name twice in one commit')
}
