import type { PutContent } from '../content/put-command.ts'
import { isAppError } from '../errors.ts'
import type { PlacementView } from './view.ts'

/**
 * The rule that content falls under at the moment when it is put, for its announcement: what is known then, by the policy that
 * this node has then. Plans go by the facts and the policy of their own time.
 */
export function policyClassOf(
  { cid, size, blocks, mediaType, owner, name }: PutContent,
  view: Pick<PlacementView, 'policy' | 'compiledPolicy'>,
  site: string,
): string | undefined {
  if (view.policy === undefined) return undefined
  const nowMs = Date.now()
  const put = { root: cid.toV1().toString(), bytes: size, blocks, mediaType, owner, originSite: site }
  const nothingYet = {
    deleted: false,
    said: {},
    copies: [],
    told: undefined,
    lost: false,
    revision: 0,
    copyRevision: 0,
  }
  const facts = { ...put, ...nothingYet, addedAt: new Date(nowMs).toISOString(), correlation: '', lastEventId: '' }
  const context = { names: name === undefined ? [] : [name], demand: {}, projectedAt: [] }
  try {
    return view.compiledPolicy.ruleFor(facts, context, nowMs).name
  } catch (error) {
    // A rule that costs too much: whoever plans says so.
    if (isAppError(error)) return undefined
    throw error
  }
}
