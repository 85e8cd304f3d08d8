import { AppError } from '../errors.ts'
import { type Context, type Draft, type EventSource, encodeEvent } from '../events/envelope.ts'
import type { FoldMarks } from '../events/fold-mark.ts'
import type { EventLog } from '../events/log.ts'
import { faultText, type LogFault } from '../events/log-fault.ts'
import type { LogGuard } from '../events/log-guard.ts'
import { uuidv7 } from '../lib/uuid.ts'
import type { Nats } from '../nats/connection.ts'
import {
  consumerFloor,
  digestAt,
  logState,
  nextIdentity,
  type SequenceRange,
  writeIdentity,
} from '../nats/log-identity.ts'
import type { IndexKeeper } from './index-keeper.ts'
import { type LossParts, type Lost, lossOf } from './log-loss.ts'
import { projectorName } from './projector.ts'

export interface LogRecoveryParts extends LossParts {
  readonly nats: Nats
  readonly guard: LogGuard
  readonly marks: FoldMarks
  /** Takes events whatever is wrong. */
  readonly unguarded: EventLog
  readonly keeper: Pick<IndexKeeper, 'remakeAll'>
  /** Has the facts of placement folded anew. */
  readonly refold: (signal: AbortSignal) => Promise<void>
}

export interface LogStatus {
  readonly epoch: string
  readonly last: number
  readonly fault: (LogFault & { readonly message: string }) | undefined
  /** What would be lost; counted, and the first of them. */
  readonly lost: LossReport
}

export interface LossReport {
  readonly count: number
  readonly examples: readonly Pick<Lost, 'kind' | 'about' | 'cid'>[]
}

export interface Acceptance {
  readonly epoch: string
  /** Sequences that were given out before, and are not given out again. */
  readonly filled: number
  readonly lost: LossReport
  readonly restored: boolean
}

export interface AcceptOptions {
  /** What the projections still know is said again, in new events. */
  readonly restore: boolean
  readonly signal: AbortSignal
}

const examplesMax = 1_000
const eventsAtOnce = 256

/** What a person does about a log that lost events. */
export class LogRecovery {
  readonly #parts: LogRecoveryParts
  #accepting: Promise<unknown> = Promise.resolve()

  constructor(parts: LogRecoveryParts) {
    this.#parts = parts
  }

  /** @throws AppError STORE_UNAVAILABLE */
  async status(signal: AbortSignal): Promise<LogStatus> {
    const { guard } = this.#parts
    await guard.check({ thorough: true })
    const { fault, identity, last } = guard
    const lost = fault === undefined ? [] : await lossOf(this.#parts, signal)
    const told = fault === undefined ? undefined : { ...fault, message: faultText(fault) }
    return { epoch: identity.epoch, last, fault: told, lost: reportOf(lost) }
  }

  /**
   * Begins a new epoch in which the log is what it still holds. Sequences that were given out are not given out again: an event
   * that says so takes the place of each that is gone from the end. May be asked again after a crash.
   * @throws AppError REQUEST_INVALID when nothing is wrong; STORE_UNAVAILABLE
   */
  accept(context: Context, options: AcceptOptions): Promise<Acceptance> {
    // One at a time: whoever asks again meanwhile finds nothing left to accept, and nothing is said twice.
    const next = this.#accepting.then(() => this.#accept(context, options))
    this.#accepting = next.catch(() => undefined)
    return next
  }

  async #accept(context: Context, { restore, signal }: AcceptOptions): Promise<Acceptance> {
    const { nats, guard, keeper, marks, refold, unguarded, names } = this.#parts
    const { stream } = unguarded
    await guard.check({ thorough: true })
    const { fault, identity } = guard
    if (fault === undefined) {
      throw new AppError('REQUEST_INVALID', 'the event log is whole: there is no loss to accept')
    }
    const lost = await lossOf(this.#parts, signal)
    const filled = await this.#fill(context)
    const epoch = uuidv7()
    const begun = { epoch, before: identity.epoch, reason: fault.kind, lost: lost.length, filled, restore }
    await this.#append(context, [{ entity: 'log', verb: 'begun', key: epoch, subject: epoch, data: begun }])
    if (restore) for (const { draft, owner } of lost) await this.#append({ ...context, owner }, [draft])
    const holes = await this.#holes(signal)
    const epochs = (await marks.read(false)).flatMap(({ mark }) => (mark === undefined ? [] : [mark.epoch]))
    await writeIdentity(nats, stream, nextIdentity(identity, epoch, epochs, holes))
    await guard.check({ thorough: true })
    guard.throwIfDamaged()
    await keeper.remakeAll(signal)
    await refold(signal)
    await names.deleted.compare({ write: true, signal })
    return { epoch, filled, lost: reportOf(lost), restored: restore }
  }

  /** @returns how many */
  async #fill(context: Context): Promise<number> {
    const { nats, unguarded, marks, names } = this.#parts
    const { site, space } = names.source
    const { last } = await logState(nats, unguarded.stream)
    const witnesses = await marks.read(true)
    const floor = await consumerFloor(nats, unguarded.stream, projectorName(site, space))
    const known = Math.max(floor, ...witnesses.flatMap(({ mark, newest }) => [mark?.sequence ?? 0, newest]))
    const drafts: Draft[] = []
    for (let sequence = last + 1; sequence <= known; sequence++) {
      drafts.push({ entity: 'log', verb: 'lost', key: 'event', subject: String(sequence), data: {} })
    }
    await this.#append(context, drafts)
    return drafts.length
  }

  async #append(context: Context, drafts: readonly Draft[]): Promise<void> {
    const { unguarded, names } = this.#parts
    for (let at = 0; at < drafts.length; at += eventsAtOnce) {
      const events = drafts.slice(at, at + eventsAtOnce).map((draft) => encoded(draft, context, names.source))
      await unguarded.append(events.map((event) => ({ event })))
    }
  }

  /** What cannot be read, of all that was ever in the log. */
  async #holes(signal: AbortSignal): Promise<SequenceRange[]> {
    const { nats, names } = this.#parts
    const gaps: [number, number][] = []
    let read = 0
    const onGap = (first: number, last: number) => void gaps.push([first, last])
    for await (const { sequence } of names.reader.whole(1, signal, onGap)) read = sequence
    const { last } = await logState(nats, names.reader.stream)
    if (read < last) gaps.push([read + 1, last])
    const holes: [number, number][] = []
    for (const [first, end] of gaps) {
      for (let sequence = first; sequence <= end; sequence++) {
        if ((await digestAt(nats, names.reader.stream, sequence)) !== undefined) continue
        const before = holes.at(-1)
        if (before !== undefined && before[1] === sequence - 1) before[1] = sequence
        else holes.push([sequence, sequence])
      }
    }
    return holes
  }
}

const encoded = (draft: Draft, context: Context, source: EventSource) =>
  encodeEvent(draft, { ...context, causation: context.id }, source)

function reportOf(lost: readonly Lost[]): LossReport {
  const examples = lost
    .slice(0, examplesMax)
    .map(({ kind, about, cid }) => ({ kind, about, ...(cid === undefined ? {} : { cid }) }))
  return { count: lost.length, examples }
}
