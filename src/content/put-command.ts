import type { CID } from 'multiformats/cid'
import { AppError } from '../errors.ts'
import { type Json, link } from '../events/canonical.ts'
import type { Context } from '../events/envelope.ts'
import type { Reach } from '../lib/crash-point.ts'
import { checkName } from '../names/name.ts'
import type { Names } from '../names/names.ts'
import { laterThan } from '../names/object-life.ts'
import { askedExpectation } from './command-id.ts'
import { type CommandLog, type Commit, commandKey, type Step } from './command-log.ts'
import { checkMediaType } from './media-type.ts'
import type { Decide } from './name-commands.ts'
import { checkExpectation, setStep, showHeads } from './name-plan.ts'
import { putOutcome } from './outcome.ts'
import type { Abortable, Put, PutResult } from './put.ts'
import { digested, type Stored, storeUpload } from './store-upload.ts'
import type { OutcomeOf, PutNamed, Upload, Verbs } from './verbs.ts'
import { namedWholeOnly } from './whole-root.ts'

export interface PutCommandParts {
  readonly put: Put
  readonly names: Names
  readonly commands: CommandLog
  /** That takes puts. */
  readonly store: string | undefined
  /** What the announcement says of it: other sites know at once what is wanted. */
  readonly policyClass: PolicyClass | undefined
  readonly reach: Reach
}

/** What a policy can tell by when something is put. */
export interface PutContent {
  readonly cid: CID
  /** In bytes. */
  readonly size: number
  readonly blocks: number
  readonly mediaType: string | null
  readonly owner: string
  readonly name: string | undefined
}

/** The rule of the policy that content falls under as it is put; undefined while there is none. */
export type PolicyClass = (content: PutContent) => string | undefined

/** Roots of a CAR that fit an event of 64 KiB; the event says how many there were. */
const rootsInEventMax = 500
/** What a partial CAR lacks is in the event of each of its roots: so many links in all of them together, and in one. */
const missingInEventsMax = 2_000
const missingInEventMax = 200

export function createPutCommand(
  { put, names, commands, store: storeName, policyClass, reach }: PutCommandParts,
  decide: Decide,
): Verbs['put'] {
  return async <U extends Upload>(context: Context, given: U, options: PutNamed & Abortable) => {
    const { name, signal } = options
    if (name !== undefined) checkName(name)
    checkMediaType(options.mediaType)
    const { upload, bytesDigest } = digested(given)
    if (name !== undefined && isPartial(upload)) {
      throw new AppError('REQUEST_INVALID', `a partial CAR cannot be named: ${namedWholeOnly}`, {
        hint: 'import it without a name, and name its root once all of it is here',
      })
    }
    let result: Stored | undefined
    const { events, repeated } = await commands.carryOut(context, {
      failure: { entity: 'object', verb: 'put', key: commandKey(context), subject: name ?? context.id },
      filters: () => [
        ...(name === undefined ? [] : [names.log.filter(name)]),
        ...(result === undefined
          ? []
          : [`${names.source.domain}.evt.*.${names.source.space}.object.*.${keyOf(result, context)}`]),
      ],
      signal,
      // Of a repeat the content is read to learn what it is, and not stored: the first run has done that.
      asked: async () => {
        const { roots } = result ?? (await storeUpload(put.dry, upload, signal, () => undefined))
        return askedOf(upload, roots, bytesDigest(), options)
      },
      work: async (commit) => {
        reach('put-accepted')
        await checkEarly(names, options)
        result = await storeUpload(put, upload, signal, reach)
        reach('put-stored')
        return commitPut(context, result, upload, options, commit)
      },
    })
    // Only a CAR comes without a root.
    return putOutcome(events, repeated) as OutcomeOf<U>
  }

  async function commitPut(
    context: Context,
    result: Stored,
    upload: Upload,
    options: Parameters<Verbs['put']>[2],
    commitSteps: Commit,
  ) {
    const { name, expect = 'any', mediaType, signal } = options
    const commit = (steps: readonly Step[]) => {
      reach('put-decided')
      return commitSteps(steps, (at) => reach(`put-${at}`))
    }
    if (!hasRoot(result)) return commit([bagStep(result, context, storeName)])
    const { cid, size, blocks } = result
    const content = { cid, size: Number(size), blocks, mediaType: mediaType ?? null, owner: context.owner, name }
    // What is in view is looked up nowhere: only what was deleted has to be taken back.
    const gone = result.roots.slice(0, rootsInEventMax).filter((root) => names.deleted.has(root))
    const after = gone.length === 0 ? undefined : await names.objects.latestElsewhere(gone, signal)
    const where = { store: storeName, policyClass: policyClass?.(content), ...laterThan(after) }
    const [added, ...others] = addedSteps(result, upload, content, where)
    if (name === undefined) return commit([added, ...others])
    return decide(
      [name],
      expect === 'any',
      ([head]) => {
        if (head === undefined) return [added, ...others]
        checkExpectation(head, expect)
        const { cid, size } = result
        return [added, setStep(head, { cid, size: Number(size), mediaType: mediaType ?? null }), ...others]
      },
      commit,
      signal,
    )
  }
}

const hasRoot = (result: Stored): result is PutResult => result.cid !== undefined

/** Of the event: what came without a root is known by its command alone. */
const keyOf = ({ cid }: Stored, context: Context): string => cid?.toV1().toString() ?? commandKey(context)

/** What cannot succeed is refused before the upload is read. @throws AppError REVISION_CONFLICT */
async function checkEarly(names: Names, { name, expect, signal }: PutNamed & { signal: AbortSignal }): Promise<void> {
  if (name === undefined || expect === undefined || expect === 'any') return
  const head = await names.log.head(name, signal)
  try {
    checkExpectation(head, expect)
  } catch (error) {
    await showHeads(names, [head])
    throw error
  }
}

/** The content itself, by its root, and what becomes of it. How it was cut into blocks the root tells. */
function askedOf(
  upload: Upload,
  roots: readonly CID[],
  bytesDigest: string | undefined,
  { name, expect = 'any', mediaType }: PutNamed,
): Json {
  return {
    verb: 'put',
    kind: upload.kind === 'car' ? 'car' : 'unixfs',
    roots: roots.map((root) => root.toV1().toString()),
    // Of a partial CAR the roots tell nothing of what is in it.
    ...(bytesDigest === undefined ? {} : { bytes: bytesDigest }),
    ...(name === undefined ? {} : { name, expect: askedExpectation(expect) }),
    mediaType: mediaType ?? null,
  }
}

function isPartial(upload: Upload): boolean {
  return upload.kind === 'car' && upload.partial === true
}

interface Where {
  readonly store: string | undefined
  readonly policyClass: string | undefined
  readonly after?: string
}

/**
 * `missing` lists all that may be absent under the roots; without it anything may. It is bounded, since an event is: whoever
 * reads it later can tell what was never put from what was lost.
 */
function partialData({ partial, roots }: Stored): { readonly partial?: true; readonly missing?: Json } {
  if (partial === undefined) return {}
  const eachMax = Math.min(missingInEventMax, missingInEventsMax / Math.max(1, roots.length))
  const { missing } = partial
  return missing === undefined || missing.length > eachMax
    ? { partial: true }
    : { partial: true, missing: missing.map(link) }
}

/** Blocks that no root stands for. They stay where they are, since a store that takes puts is never swept, and are found by CID. */
function bagStep(result: Stored, context: Context, store: string | undefined): Step {
  const { size, blocks, newBlocks } = result
  const counts = { size: Number(size), blocks, newBlocks }
  return {
    draft: {
      ...{ entity: 'object', verb: 'imported', key: commandKey(context), subject: context.id },
      data: { cid: null, ...counts, mediaType: null, store, roots: [], rootCount: 0, partial: true },
    },
  }
}

/** The first is of all roots; the others are there so that what happened to a root is found in the log by its key. */
function addedSteps(
  result: PutResult,
  upload: Upload,
  { cid, size, blocks, mediaType }: PutContent,
  where: Where,
): readonly [Step, ...Step[]] {
  const { newBlocks, roots } = result
  const car = upload.kind === 'car'
  const partial = partialData(result)
  const data = {
    cid: link(cid),
    size,
    blocks,
    newBlocks,
    mediaType,
    ...where,
    ...(car ? { roots: roots.slice(0, rootsInEventMax).map(link), rootCount: roots.length } : {}),
    ...partial,
  }
  const stepOf = (key: string, about: Step['draft']['data']): Step => ({
    draft: { entity: 'object', verb: car ? 'imported' : 'added', key, subject: key, data: about },
  })
  const others = new Map(roots.slice(0, rootsInEventMax).map((root) => [root.toV1().toString(), root]))
  others.delete(cid.toV1().toString())
  const ofOther = (root: CID) => ({ cid: link(root), mediaType: null, ...where, ...partial })
  return [stepOf(cid.toV1().toString(), data), ...Array.from(others, ([key, root]) => stepOf(key, ofOther(root)))]
}
