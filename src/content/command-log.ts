import { isAppError } from '../errors.ts'
import type { Json } from '../events/canonical.ts'
import { type CloudEvent, type Context, type Draft, type EventSource, encodeEvent } from '../events/envelope.ts'
import type { EventLog, Expectation } from '../events/log.ts'
import { besideKey, keyToken } from '../names/name.ts'
import { type Effect, readMessage } from '../names/name-fold.ts'
import type { Names } from '../names/names.ts'
import { askedDigest, checkCommandId, checkSame, eventIdOf } from './command-id.ts'

/** An event of a command, as the log has it. */
export interface Recorded {
  readonly sequence: number
  readonly event: CloudEvent
  readonly effects: readonly Effect[]
}

export interface Step {
  readonly draft: Draft
  readonly expect?: Expectation
  /** The name of the draft is believed to be new. */
  readonly wasAbsent?: boolean
}

export interface Carried {
  readonly events: readonly Recorded[]
  /** They were there already. */
  readonly repeated: boolean
}

export interface CommandPlan {
  /** What the failure event is about. */
  readonly failure: Pick<Draft, 'entity' | 'key' | 'subject'> & { readonly verb: string }
  /** Subjects to look for an earlier run of the command on. Asked after `work` has failed. */
  readonly filters: () => readonly string[]
  readonly signal: AbortSignal
  /**
   * All that the command asks for: its id stands for this alone. Called when it is needed, once at the most: what a put asks
   * is known when its content is.
   */
  readonly asked: () => Json | Promise<Json>
  /** Commits, and returns what it committed. */
  readonly work: (commit: Commit) => Promise<readonly Recorded[]>
}

export type Reached = (at: 'committed' | 'indexed') => void
export type Commit = (steps: readonly Step[], reached: Reached) => Promise<readonly Recorded[]>

const outcomeWaitMs = 2_000
const outcomePollMs = 20
const neverAborted = new AbortController().signal

/** The part that all commands share: one effect for one id, one commit, and an event for a failure too. */
export class CommandLog {
  readonly #log: EventLog
  readonly #names: Names
  readonly #source: EventSource
  readonly #failures = new Set<Promise<unknown>>()
  /** Index writes that failed after their commit; the projector does them. */
  leftToProjector = 0

  constructor(log: EventLog, names: Names) {
    this.#log = log
    this.#names = names
    this.#source = names.source
  }

  /**
   * @throws AppError REQUEST_INVALID (the id), COMMAND_ID_TAKEN (by a command that was another one), LOG_DAMAGED; what `work`
   * throws
   */
  async carryOut(context: Context, plan: CommandPlan): Promise<Carried> {
    checkCommandId(context.id)
    const { asked, signal, work } = plan
    let known: Promise<Json> | undefined
    const askedNow = () => {
      known ??= (async () => asked())()
      return known
    }
    const repeat = async (events: readonly Recorded[]): Promise<Carried> => {
      await checkSame(events, context, askedNow)
      return { events, repeated: true }
    }
    const earlier = context.fresh === true ? undefined : await this.#find(context, signal)
    if (earlier === undefined) this.#log.throwIfDamaged()
    try {
      if (earlier !== undefined) return await repeat(earlier)
      const commit: Commit = async (steps, reached) =>
        this.commit(context, steps, reached, askedDigest(context, await askedNow()))
      return { events: await work(commit), repeated: false }
    } catch (error) {
      return await this.#afterFailure(context, plan, error, repeat)
    }
  }

  async #afterFailure(
    context: Context,
    { failure, filters }: CommandPlan,
    error: unknown,
    repeat: (events: readonly Recorded[]) => Promise<Carried>,
  ): Promise<Carried> {
    let cause = error
    try {
      const earlier = await this.#earlierRun(context, error, filters())
      if (earlier !== undefined) return await repeat(earlier)
    } catch (other) {
      cause = other
    }
    await this.#recordFailure(context, failure, cause)
    throw cause
  }

  /**
   * The commit point: all events or none, durable; then their effects on the indexes.
   * The first event takes the command's id and says how many they are, and what was asked; the others name it and their place.
   * @param asked digest of what the command asks; undefined where nobody can repeat it
   */
  async commit(context: Context, steps: readonly Step[], reached: Reached, asked?: string) {
    const id = eventIdOf(context)
    const drafts = [...steps.map(({ draft }) => draft), ...steps.flatMap(resolved)]
    const encoded = drafts.map((draft, part) => {
      const first = { commit: drafts.length, ...(asked === undefined ? {} : { asked }) }
      const whole = { ...draft, data: { ...draft.data, ...(part === 0 ? first : { command: id, part }) } }
      return encodeEvent(whole, context, this.#source, part === 0 ? id : undefined)
    })
    const sequences = await this.#log.append(
      encoded.map((event, at) => {
        const expect = steps[at]?.expect
        return expect === undefined ? { event } : { event, expect }
      }),
    )
    reached('committed')
    const messages = encoded.map(({ natsSubject, payload }, at) => ({
      subject: natsSubject,
      payload,
      sequence: sequences[at] ?? 0,
    }))
    const recorded = recordedOf(messages)
    await this.#index(recorded, steps)
    reached('indexed')
    return recorded
  }

  /** Resolves when no failure is left to be recorded. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.#failures])
  }

  /** What is committed is done, whatever becomes of the indexes: the projector brings them up, and until then none is asked. */
  async #index(recorded: readonly Recorded[], steps: readonly Step[]): Promise<void> {
    const writes = recorded.flatMap(({ effects }, at) =>
      effects.map((effect) => this.#names.apply(effect, steps[at]?.wasAbsent)),
    )
    for (const outcome of await Promise.allSettled(writes)) {
      if (outcome.status === 'fulfilled') continue
      this.leftToProjector++
      this.#names.whole.fellBehind()
    }
  }

  /** What the command with this id led to, whoever sent it. */
  async #find(context: Context, signal: AbortSignal): Promise<Recorded[] | undefined> {
    const { outcomes } = this.#names
    const id = eventIdOf(context)
    const found = await outcomes.find(id, signal)
    if (found !== undefined) return recordedOf(found)
    if (id === context.id) return undefined
    // Ids were not told apart by principal once, and one that was made up here is its event's own.
    const bare = recordedOf((await outcomes.find(context.id, signal)) ?? [])
    return bare[0]?.event.authid === context.principal ? bare : undefined
  }

  async #earlierRun(context: Context, error: unknown, filters: readonly string[]): Promise<Recorded[] | undefined> {
    const refused = isAppError(error, 'COMMAND_REPEATED')
    // Our own earlier run may be what we lost against.
    const lost = isAppError(error, 'REVISION_CONFLICT') || isAppError(error, 'NAME_NOT_FOUND')
    const gone = isAppError(error, 'OBJECT_DELETED')
    if (!refused && (context.fresh === true || !(lost || gone))) return undefined
    const found = await this.#names.outcomes.findRecent(eventIdOf(context), filters, neverAborted)
    if (found !== undefined) return recordedOf(found)
    const endMs = performance.now() + outcomeWaitMs
    while (refused && performance.now() < endMs) {
      const earlier = await this.#find(context, neverAborted)
      if (earlier !== undefined) return earlier
      await new Promise((resolve) => setTimeout(resolve, outcomePollMs))
    }
    return undefined
  }

  /** Best effort: where the log is down as well, the caller does not wait for it. */
  async #recordFailure(context: Context, failure: CommandPlan['failure'], error: unknown): Promise<void> {
    const code = isAppError(error) ? error.code : 'ABORTED'
    const message = error instanceof Error ? error.message.slice(0, 500) : 'unknown'
    const { entity, key, subject, verb } = failure
    const data = { command: context.id, verb, code: code.toLowerCase(), message }
    const draft = { entity, verb: 'failed', key, subject, data } as Draft
    const event = encodeEvent(draft, { ...context, causation: context.id }, this.#source)
    const recording: Promise<unknown> = this.#log
      .append([{ event }])
      .catch(() => undefined)
      .then(() => this.#failures.delete(recording))
    this.#failures.add(recording)
    if (code !== 'STORE_UNAVAILABLE' && code !== 'STORE_FULL') await recording
  }
}

/** A change that replaces several heads ends a conflict; it goes behind all steps, whose places others count on. */
function resolved({ draft: { entity, verb, key, subject, data } }: Step): Draft[] {
  const { parents } = data
  if (entity !== 'name' || !Array.isArray(parents) || parents.length < 2) return []
  const cid = verb === 'set' ? data.cid : null
  return [{ entity, verb: 'resolved', key: besideKey(key), subject, data: { name: subject, cid, parents } }]
}

function recordedOf(messages: readonly Parameters<typeof readMessage>[0][]): Recorded[] {
  return messages.flatMap((message) => {
    const reading = readMessage(message)
    return reading === undefined ? [] : [{ sequence: message.sequence, event: reading.event, effects: reading.effects }]
  })
}

export const failureKey = besideKey
export const commandKey = (context: Context): string => failureKey(keyToken(context.id))
