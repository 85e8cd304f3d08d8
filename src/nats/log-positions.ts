import type { LayoutConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import type { Nats } from './connection.ts'
import { directGetFrom } from './direct-get.ts'
import { eventStream, eventSubjects } from './layout.ts'
import { TransientError } from './requests.ts'

/** How far our log has the events of each site: the sequence, in the log of that site, of the last one. 0 = none. */
export type Positions = Readonly<Record<string, number>>

/**
 * What a sourced message bears (ADR-31's headers do not say where it came from): `<stream> <sequence> …`, the sequence being that
 * of the site's own log.
 */
const sourceHeader = 'Nats-Stream-Source'

/** @throws AppError STORE_UNAVAILABLE */
export async function logPositions(
  nats: Nats,
  { domain }: Pick<LayoutConfig, 'domain'>,
  sites: readonly string[],
): Promise<Positions> {
  const stream = eventStream(domain)
  const found = await Promise.all(
    sites.map(async (site): Promise<readonly [string, number]> => {
      const query = { last_by_subj: eventSubjects({ domain, site }) }
      const last = await nats.jsm.streams.getMessage(stream, query).catch((cause: unknown) => {
        throw new AppError('STORE_UNAVAILABLE', `stream ${stream} does not answer`, { cause })
      })
      if (last === null) return [site, 0]
      const sequence = Number(last.header?.get(sourceHeader).split(' ')[1] ?? last.seq)
      return [site, Number.isSafeInteger(sequence) ? sequence : last.seq]
    }),
  )
  return Object.fromEntries(found)
}

/** How many events of the log's own site come after this sequence. @throws AppError STORE_UNAVAILABLE */
export async function ownEventsAfter(
  nats: Nats,
  place: Pick<LayoutConfig, 'domain' | 'site'>,
  sequence: number,
): Promise<number> {
  try {
    const { requests } = nats.log
    const stream = eventStream(place.domain)
    const { messages } = await directGetFrom(requests, stream, eventSubjects(place), sequence + 1, 1)
    const [next] = messages
    return next === undefined ? 0 : 1 + Number(next.header('Nats-Num-Pending'))
  } catch (cause) {
    if (!(cause instanceof TransientError)) throw cause
    throw new AppError('STORE_UNAVAILABLE', 'the event log does not answer', { cause })
  }
}
