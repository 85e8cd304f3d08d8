import type { FastifyRequest } from 'fastify'
import type { NameExpectation } from '../content/verbs.ts'
import { AppError, isAppError } from '../errors.ts'

const conflict = (message: string) =>
  new AppError('REVISION_CONFLICT', message, { hint: 'read it again and decide anew' })

/**
 * What `If-Match` and `If-None-Match` (RFC 9110 §13.1) ask of a name, or of the policy, before it is changed: `If-Match: "<revision>"`,
 * a list of them, or `*` (there is one); `If-None-Match: *` (there is none).
 * @param current is asked only where the header leaves a choice; the change is then bound to what it found
 * @throws AppError REQUEST_INVALID | REVISION_CONFLICT
 */
export async function expectationOf(
  { headers }: FastifyRequest,
  current: () => Promise<{ readonly revision: number } | undefined>,
): Promise<NameExpectation> {
  const match = headers['if-match']?.trim()
  const noneMatch = headers['if-none-match']?.trim()
  if (match !== undefined && noneMatch !== undefined) {
    throw new AppError('REQUEST_INVALID', 'If-Match and If-None-Match exclude each other')
  }
  if (noneMatch !== undefined) {
    if (noneMatch === '*') return 'absent'
    throw new AppError('REQUEST_INVALID', 'If-None-Match of a change is *', { hint: 'or use If-Match: "<revision>"' })
  }
  if (match === undefined) return 'any'
  if (match === '*') {
    const entry = await current()
    if (entry === undefined) throw conflict('there is nothing yet')
    return { revision: entry.revision, given: match }
  }
  const revisions = match.split(',').map((tag) => revisionOf(tag.trim()))
  const [only] = revisions
  if (revisions.length === 1 && only !== undefined) return { revision: only }
  const entry = await current()
  if (entry !== undefined && revisions.includes(entry.revision)) return { revision: entry.revision, given: match }
  throw conflict('it is at none of these revisions')
}

/** A weak tag never matches, as the RFC has it. */
function revisionOf(tag: string): number | undefined {
  const [, weak, text] = /^(W\/)?"(\d{1,15})"$/.exec(tag) ?? []
  if (text === undefined) {
    throw new AppError('REQUEST_INVALID', 'If-Match is no entity tag of ours', {
      hint: 'send If-Match: "<revision>"',
    })
  }
  return weak === undefined ? Number(text) : undefined
}

/** Undefined where there is none. */
export async function orAbsent<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found
  } catch (error) {
    if (isAppError(error, 'NAME_NOT_FOUND') || isAppError(error, 'POLICY_NOT_FOUND')) return undefined
    throw error
  }
}
