import { idTaken } from '../content/command-id.ts'
import type { CommandLog, Commit, Recorded, Step } from '../content/command-log.ts'
import { failureKey } from '../content/command-log.ts'
import { AppError, isAppError } from '../errors.ts'
import type { Json } from '../events/canonical.ts'
import type { Context } from '../events/envelope.ts'
import { placeEvents } from './place-events.ts'
import { defaultRule, type Policy } from './plan-model.ts'
import { parsePolicy } from './policy.ts'
import { currentOf, type PolicyHead, type PolicyLog, type PolicyVersion } from './policy-log.ts'

interface Abortable {
  readonly signal: AbortSignal
}

/** What has to be true of the policy for a change of it; `any` = the last one wins. */
export type PolicyExpectation = 'any' | 'absent' | { readonly revision: number; readonly given?: string }

/** Which policy is meant: the one of now, where undefined. */
export type PolicyAt = { readonly revision: number } | { readonly time: Date } | undefined

export interface PolicyOutcome {
  readonly version: PolicyVersion
  /** There was none before. */
  readonly isFirst: boolean
  readonly repeated: boolean
}

/** The policy of the space of this node. */
export interface PolicyVerbs {
  readonly space: string
  /** @throws AppError POLICY_NOT_FOUND; LOG_DAMAGED while the log may not have the last one */
  get(at: PolicyAt, options: Abortable): Promise<PolicyVersion>
  /** Oldest first. @throws AppError LOG_DAMAGED as `get` */
  history(options: Abortable): Promise<readonly PolicyVersion[]>
  /** Reads a document and changes nothing. @throws AppError POLICY_INVALID with every problem */
  check(document: unknown): Policy
  /** @throws AppError POLICY_INVALID | REVISION_CONFLICT | COMMAND_REPEATED (of another command) */
  set(context: Context, document: unknown, expect: PolicyExpectation, options: Abortable): Promise<PolicyOutcome>
  /** Sets what was there before `revision` (default: the one of now), by a new event. */
  undo(context: Context, revision: number | undefined, options: Abortable): Promise<PolicyOutcome>
}

export interface PolicyVerbParts {
  readonly space: string
  readonly commands: CommandLog
  readonly log: PolicyLog
  /** Of the event log, which all of this is read from. */
  readonly throwIfDamaged: () => void
  /** Names that a rule may use. */
  readonly sites: () => ReadonlySet<string>
  /** Resolves when this node goes by it. */
  readonly shown: (version: PolicyVersion) => Promise<void>
}

const attemptsMax = 100

export function createPolicyVerbs({
  space,
  commands,
  log,
  throwIfDamaged,
  sites,
  shown,
}: PolicyVerbParts): PolicyVerbs {
  async function carryOut(
    context: Context,
    verb: string,
    asked: Json,
    plan: (head: PolicyHead) => { readonly policy: Policy; readonly undoes?: number },
    retry: boolean,
    { signal }: Abortable,
  ): Promise<PolicyOutcome> {
    let isFirst = false
    const attempt = async (commit: Commit) => {
      const head = await log.head(signal)
      isFirst = head.current === undefined
      return commit([stepOf(space, head, plan(head))], () => undefined)
    }
    const { events, repeated } = await commands.carryOut(context, {
      failure: { entity: 'policy', verb, key: failureKey(space), subject: space },
      filters: () => [log.filter],
      signal,
      asked: () => ({ verb: `policy ${verb}`, space, asked }),
      work: (commit) => withRetries(() => attempt(commit), retry),
    })
    const version = outcomeOf(events)
    if (!repeated) await shown(version)
    return { version, isFirst: isFirst && !repeated, repeated }
  }

  return {
    space,
    check: (document) => parsePolicy(document, sites()),
    get: async (at, { signal }) => {
      throwIfDamaged()
      const found = versionAt((await log.head(signal)).history, at)
      if (found === undefined) throw notFound(at)
      return found
    },
    history: async ({ signal }) => {
      throwIfDamaged()
      return (await log.head(signal)).history
    },
    set: (context, document, expect, options) =>
      carryOut(
        context,
        'set',
        { document: document as Json, expect: typeof expect === 'string' ? expect : (expect.given ?? expect.revision) },
        (head) => {
          const policy = parsePolicy(document, sites())
          checkExpectation(head, expect)
          return { policy }
        },
        expect === 'any',
        options,
      ),
    undo: (context, revision, options) =>
      carryOut(context, 'undo', revision ?? null, (head) => undone(head, revision), revision !== undefined, options),
  }
}

function stepOf(
  space: string,
  { current, expect }: PolicyHead,
  { policy, undoes }: { readonly policy: Policy; readonly undoes?: number },
): Step {
  const draft = placeEvents.policy(space, policy)
  const place = {
    generation: (current?.generation ?? 0) + 1,
    previous: current?.revision ?? 0,
    parents: current === undefined ? [] : [current.eventId],
    ...(undoes === undefined ? {} : { undoes }),
  }
  return { draft: { ...draft, data: { ...draft.data, ...place } }, expect }
}

/** Back to no policy is the rule that holds without one. */
function undone({ history, current }: PolicyHead, revision: number | undefined) {
  const taken = revision === undefined ? current : history.find((version) => version.revision === revision)
  if (taken === undefined) throw notFound(revision === undefined ? undefined : { revision })
  const before = currentOf(history.slice(0, history.indexOf(taken)))
  return { policy: before?.policy ?? { version: 1 as const, rules: [defaultRule] }, undoes: taken.revision }
}

function versionAt(history: readonly PolicyVersion[], at: PolicyAt): PolicyVersion | undefined {
  if (at === undefined) return currentOf(history)
  if ('revision' in at) return currentOf(history.filter(({ revision }) => revision <= at.revision))
  return currentOf(history.filter(({ time }) => Date.parse(time) <= at.time.getTime()))
}

function checkExpectation({ current }: PolicyHead, expect: PolicyExpectation): void {
  if (expect === 'any') return
  const wanted = expect === 'absent' ? undefined : expect.revision
  if (current?.revision === wanted) return
  const state = current === undefined ? 'no policy was set' : `the policy is at revision ${current.revision}`
  const asked = wanted === undefined ? 'none' : `revision ${wanted}`
  throw new AppError('REVISION_CONFLICT', `${state}; ${asked} was expected`, { hint: 'read it again and decide anew' })
}

/** The log's own refusal has a cause: somebody was faster. What the plan refuses would be refused again. */
async function withRetries<T>(attempt: () => Promise<T>, retry: boolean): Promise<T> {
  for (let left = retry ? attemptsMax : 1; ; left--) {
    try {
      return await attempt()
    } catch (error) {
      const faster = isAppError(error, 'REVISION_CONFLICT') && error.cause !== undefined
      if (!faster || left <= 1) throw error
    }
  }
}

function outcomeOf([first]: readonly Recorded[]): PolicyVersion {
  const policy = first?.event.data.policy
  if (first === undefined || typeof policy !== 'object') {
    throw idTaken()
  }
  const { event, sequence } = first
  const { generation, undoes } = event.data
  return {
    revision: sequence,
    policy: policy as unknown as Policy,
    generation: Number(generation ?? 0),
    site: event.source.split('/')[3] ?? '',
    owner: event.owner,
    time: event.time,
    eventId: event.id,
    undoes: typeof undoes === 'number' ? undoes : null,
  }
}

function notFound(at: PolicyAt): AppError {
  if (at === undefined) {
    return new AppError('POLICY_NOT_FOUND', 'no policy was set: one copy of everything is what holds', {
      hint: 'set one with `stowage policy set`',
    })
  }
  const then = 'revision' in at ? `at revision ${at.revision}` : `at ${at.time.toISOString()}`
  return new AppError('POLICY_NOT_FOUND', `there was no policy ${then}`, { hint: 'see `stowage policy history`' })
}
