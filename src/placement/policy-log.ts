import { decodeEvent } from '../events/envelope.ts'
import type { Expectation } from '../events/log.ts'
import type { LogMessage } from '../names/name-fold.ts'
import type { LogReader } from '../nats/log-reader.ts'
import type { Policy } from './plan-model.ts'

/** A policy as it was set. */
export interface PolicyVersion {
  /** Sequence of its event in the log that is asked. */
  readonly revision: number
  readonly policy: Policy
  /** How many it follows, as far as its author knew. */
  readonly generation: number
  readonly site: string
  readonly owner: string
  /** RFC 3339. */
  readonly time: string
  readonly eventId: string
  /** Revision that it took back, where it did. */
  readonly undoes: number | null
}

export interface PolicyHead {
  /** Oldest first. */
  readonly history: readonly PolicyVersion[]
  readonly current: PolicyVersion | undefined
  /** Holds as long as nothing has been set since. */
  readonly expect: Expectation
}

type Rank = Pick<PolicyVersion, 'generation' | 'time' | 'eventId'>

/**
 * Which of two policies counts: the one that was set in knowledge of the other; of two sites that did not hear each other the
 * later, then the greater event id. The same at every site, whatever the order that its log took them up in.
 */
export function outranks(a: Rank, b: Rank): boolean {
  if (a.generation !== b.generation) return a.generation > b.generation
  return a.time === b.time ? a.eventId > b.eventId : a.time > b.time
}

/** Of an entry of the index. */
export function rankIn(entry: Buffer): Rank {
  const { generation, time, eventId } = JSON.parse(entry.toString('utf8')) as Partial<Rank>
  return { generation: generation ?? 0, time: time ?? '', eventId: eventId ?? '' }
}

/** The policies of a space, from the log itself. */
export class PolicyLog {
  readonly #reader: LogReader
  readonly #filter: string

  constructor(reader: LogReader, { domain, space }: { readonly domain: string; readonly space: string }) {
    this.#reader = reader
    this.#filter = `${domain}.evt.*.${space}.policy.set.${space}`
  }

  get filter(): string {
    return this.#filter
  }

  /** @throws AppError STORE_UNAVAILABLE */
  async head(signal: AbortSignal): Promise<PolicyHead> {
    const history: PolicyVersion[] = []
    let lastSequence = 0
    for await (const message of this.#reader.from(this.#filter, 1, signal)) {
      lastSequence = message.sequence
      history.push(...versionOf(message))
    }
    return { history, current: currentOf(history), expect: { filter: this.#filter, lastSequence } }
  }
}

export function currentOf(history: readonly PolicyVersion[]): PolicyVersion | undefined {
  const [first, ...others] = history
  return others.reduce((best, one) => (best === undefined || outranks(one, best) ? one : best), first)
}

function versionOf({ payload, sequence, subject }: LogMessage): PolicyVersion[] {
  const event = decodeEvent(payload)
  const policy = event?.data.policy
  if (event === undefined || typeof policy !== 'object' || policy === null) return []
  const { generation, undoes } = event.data
  return [
    {
      revision: sequence,
      policy: policy as unknown as Policy,
      generation: typeof generation === 'number' ? generation : 0,
      site: subject.split('.')[2] ?? '',
      owner: event.owner,
      time: event.time,
      eventId: event.id,
      undoes: typeof undoes === 'number' ? undoes : null,
    },
  ]
}
