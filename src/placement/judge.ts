import { CID } from 'multiformats/cid'
import type { StoreRef } from '../blocks/store-ref.ts'
import { AppError, isAppError } from '../errors.ts'
import type { IsNamed } from './contexts.ts'
import type { Copy, RootFacts } from './model.ts'
import { mayBeAbsent, partOf } from './partial.ts'
import { isBlockFailure } from './repair.ts'

export interface JudgeParts {
  /** Of a root that was announced; undefined for one that never was. */
  readonly factsOf: (root: CID, signal: AbortSignal) => Promise<RootFacts | undefined>
  readonly isNamed: IsNamed
  /** Whether the site is heard. */
  readonly isUp: (site: string) => boolean
  /** Whether what lay there is gone for good: nobody waits for it. */
  readonly isGone: (at: StoreRef) => boolean
  /** Whether reads go on to that store: just after a site was heard they do not yet. */
  readonly isRead: (at: StoreRef) => boolean
  /** Sites that there are and that are not heard. */
  readonly sitesDown: () => readonly string[]
  /**
   * Asks a store for the root block. @returns whether it has it
   * @throws AppError STORE_UNAVAILABLE
   */
  readonly ask: (at: StoreRef, root: CID, signal: AbortSignal) => Promise<boolean>
  /** A block of it is lost. It must not throw, and is not waited for. */
  readonly onLost?: (facts: RootFacts, failure: AppError) => void
}

/**
 * What it means that a block of this root cannot be read: what was announced and is in view is never "not found", but for the
 * parts that were never put. Costs a look-up, and only after a failure.
 * @returns the error to answer with: the same, STORE_UNAVAILABLE, BLOCK_LOST, or BLOCK_NOT_FOUND for such a part
 */
export type Judge = (root: CID, failure: unknown, signal: AbortSignal) => Promise<unknown>

export function createJudge(parts: JudgeParts): Judge {
  return async (root, failure, signal) => {
    if (!isBlockFailure(failure)) return failure
    const facts = await parts.factsOf(root, signal)
    if (facts === undefined || (facts.deleted && !(await parts.isNamed(facts, signal)))) return failure
    const away = await unreachable(facts, root, parts, signal)
    if (away !== undefined) {
      return new AppError('STORE_UNAVAILABLE', `a copy of ${root} is at ${away}, which does not answer now`, {
        cause: failure,
        hint: 'try again when that site is back; see stowage site ls',
      })
    }
    if (isAppError(failure, 'BLOCK_LOST')) return failure
    const absent = absentPart(facts, root, failure)
    if (absent !== undefined) return absent
    parts.onLost?.(facts, failure)
    return new AppError('BLOCK_LOST', `${root} was stored, and no whole copy of it is left`, {
      cause: failure,
      hint: 'put the content again, or restore it from another copy',
    })
  }
}

/** What was never put is not lost: of content that was taken in as partial. */
function absentPart(facts: RootFacts, root: CID, failure: AppError): AppError | undefined {
  const part = partOf(facts)
  if (part === undefined || !isAppError(failure, 'BLOCK_NOT_FOUND')) return undefined
  const { block } = failure
  if (block !== undefined && !mayBeAbsent(part, CID.parse(block))) return undefined
  return new AppError(
    'BLOCK_NOT_FOUND',
    `the block ${block ?? 'asked for'} is not among those that were put of ${root}`,
    {
      cause: failure,
      hint: 'the content was imported as partial: import the CAR of what is missing, or of all of it',
      ...(block === undefined ? {} : { block }),
    },
  )
}

/** A site that may have a whole copy and cannot be asked. */
async function unreachable(
  facts: RootFacts,
  root: CID,
  { isUp, isGone, isRead, sitesDown, ask }: JudgeParts,
  signal: AbortSignal,
): Promise<string | undefined> {
  const holds = (copy: Copy) => (copy.state === 'verified' || copy.state === 'removing') && !isGone(copy)
  const copies = facts.copies.filter(holds)
  const down = copies.find((copy) => !isUp(copy.site) || !isRead(copy))
  if (down !== undefined) return down.site
  for (const { site, store } of copies) {
    try {
      await ask({ site, store }, root, signal)
    } catch (error) {
      // Heard a moment ago, and cut off since.
      if (isAppError(error, 'STORE_UNAVAILABLE')) return site
      throw error
    }
  }
  // Announced before anybody noted where.
  return facts.copies.length === 0 ? sitesDown()[0] : undefined
}
