import { createHash } from 'node:crypto'
import { isAppError } from '../errors.ts'
import type { Json } from '../events/canonical.ts'
import { type Context, decodeEvent, type EventSource, encodeEvent } from '../events/envelope.ts'
import type { EventLog } from '../events/log.ts'
import type { LogReader } from '../nats/log-reader.ts'
import { besideKey, nameKey } from './name.ts'
import type { NameHead, NameVersion } from './name-entry.ts'

/** Tells in the log that sites have changed a name without hearing each other: `name.conflicted`. */
export class Conflicts {
  readonly #log: EventLog
  readonly #reader: LogReader
  readonly #source: EventSource

  constructor(log: EventLog, reader: LogReader, source: EventSource) {
    this.#log = log
    this.#reader = reader
    this.#source = source
  }

  /**
   * Once for the same heads, and by the site of the first one alone; nothing where the name stands for one thing.
   * @throws AppError STORE_FULL, STORE_UNAVAILABLE
   */
  async announce(name: string, { heads, cid }: NameVersion, signal: AbortSignal): Promise<void> {
    const [winner] = heads ?? []
    const { domain, site, space } = this.#source
    if (heads === undefined || winner === undefined || winner.site !== site) return
    const id = conflictId(name, heads)
    const key = besideKey(nameKey(name))
    const filter = `${domain}.evt.*.${space}.name.conflicted.${key}`
    const messages = await this.#reader.last([filter], signal)
    const last = messages.sort((a, b) => a.sequence - b.sequence).at(-1)
    if (last !== undefined && decodeEvent(last.payload)?.id === id) return
    const data = { name, cid, heads: heads as unknown as Json }
    const draft = { entity: 'name', verb: 'conflicted', key, subject: name, data } as const
    const event = encodeEvent(draft, contextOf(id, winner, site), this.#source, id)
    try {
      await this.#log.append([{ event, expect: { filter, lastSequence: last?.sequence ?? 0 } }])
    } catch (error) {
      // Another node of the site was faster.
      if (!isAppError(error, 'REVISION_CONFLICT') && !isAppError(error, 'COMMAND_REPEATED')) throw error
    }
  }
}

/** The same wherever and however often the same heads are met. */
function conflictId(name: string, heads: readonly NameHead[]): string {
  const text = JSON.stringify([name, ...heads.map(({ eventId }) => eventId).sort()])
  const hash = createHash('sha256').update(text).digest()
  // UUIDv8 (RFC 9562 §5.8): the bits are ours.
  hash[6] = 0x80 | ((hash[6] ?? 0) & 0x0f)
  hash[8] = 0x80 | ((hash[8] ?? 0) & 0x3f)
  const hex = hash.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-')
}

function contextOf(id: string, winner: NameHead, site: string): Context {
  const principal = `node:${site}`
  return {
    id,
    correlation: winner.eventId,
    causation: winner.eventId,
    owner: principal,
    principal,
    via: 'node',
    traceparent: undefined,
  }
}
