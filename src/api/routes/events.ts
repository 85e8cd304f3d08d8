import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import type { LimitConfig } from '../../config.ts'
import { parseCid } from '../../content/get.ts'
import type { EventFeed, EventFilter, StoredEvent } from '../../content/verbs.ts'
import { AppError } from '../../errors.ts'
import { clientGone } from '../../lib/client-gone.ts'
import { correlationOf } from '../../lib/message-ids.ts'
import { onAbort } from '../../lib/on-abort.ts'
import { timeOfUuidv7 } from '../../lib/uuid.ts'
import { givePlaceBack } from '../bounds.ts'
import { allowOnly, flagOf, queryOf } from '../query.ts'
import { type EventFormat, sendEvents } from '../send-events.ts'

export interface EventRouteParts {
  readonly feed: EventFeed
  readonly limits: Pick<LimitConfig, 'eventFollowersMax' | 'sendIdleMs'>
  readonly log: Pick<Logger, 'error'>
  /** Aborts when the API closes: a follower must not hold a stop. */
  readonly closing: AbortSignal
}

const parameters = ['entity', 'verb', 'prefix', 'cid', 'owner', 'correlation', 'since', 'follow']

/** By which the clocks of nodes and servers may differ. */
const clockSlackMs = 10 * 60_000

/**
 * `GET /api/v1/events`: the event log from `since` on (a sequence: after it; a time: from then; `now`; nothing: all of it), then
 * what happens. Server-sent events, or JSON lines for `Accept: application/x-ndjson`, which end with the log unless
 * `follow=true`. It tells names, owners and principals, so it needs the token.
 */
export function eventsHandler({ feed, limits, log, closing }: EventRouteParts) {
  let followers = 0
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const query = queryOf(request)
    allowOnly(query, parameters)
    const format: EventFormat = /\bapplication\/(x-)?ndjson\b/i.test(request.headers.accept ?? '') ? 'lines' : 'sse'
    const live = flagOf(query, 'follow', format === 'sse')
    const filter = filterOf(query)
    const signal = clientGone(reply.raw)
    const after = await startOf(request, query, feed, signal)
    if (followers >= limits.eventFollowersMax) {
      throw new AppError('STORE_UNAVAILABLE', `${followers} clients follow events here already`, {
        hint: 'the setting is STOWAGE_EVENT_FOLLOWERS_MAX',
      })
    }
    const ended = endedBy(signal, closing)
    followers++
    givePlaceBack(request)
    try {
      const events: AsyncIterable<StoredEvent> = feed.follow(filter, after, { signal: ended.signal, live })
      reply.hijack()
      await sendEvents(reply.raw, events, { after, format, signal: ended.signal, idleMs: limits.sendIdleMs })
    } catch (error) {
      if (!ended.signal.aborted) log.error({ err: error, route: request.routeOptions.url }, 'following events ended')
      // One who follows can come back; a listing that is cut short must not look whole.
      if (live && closing.aborted) reply.raw.end()
      else reply.raw.destroy()
    } finally {
      followers--
      ended.release()
    }
    return reply
  }
}

/** @throws AppError REQUEST_INVALID | CID_INVALID */
function filterOf(query: URLSearchParams): EventFilter {
  const word = (name: string) => {
    const text = query.get(name)
    if (text === null || /^[a-z]{1,32}$/.test(text)) return text
    throw new AppError('REQUEST_INVALID', `${name} is a word of small letters, like name or set`)
  }
  const entity = word('entity')
  const verb = word('verb')
  const cid = query.get('cid')
  const prefix = query.get('prefix')
  const owner = query.get('owner')
  const correlation = query.get('correlation')
  if (correlation !== null && correlationOf(correlation) === undefined) {
    throw new AppError('REQUEST_INVALID', 'correlation is no id')
  }
  return {
    ...(entity === null ? {} : { entity }),
    ...(verb === null ? {} : { verb }),
    ...(prefix === null ? {} : { namePrefix: prefix }),
    ...(cid === null ? {} : { cid: parseCid(cid).toV1().toString() }),
    ...(owner === null ? {} : { owner }),
    ...(correlation === null ? {} : { correlation }),
  }
}

/**
 * `Last-Event-ID` wins: a browser that reconnects sends it, with the URL that it began with.
 * @returns the sequence to go on after @throws AppError REQUEST_INVALID
 */
async function startOf(
  request: FastifyRequest,
  query: URLSearchParams,
  feed: EventFeed,
  signal: AbortSignal,
): Promise<number> {
  const resume = request.headers['last-event-id']
  const since = (typeof resume === 'string' && resume !== '' ? resume : query.get('since')) ?? '0'
  // Asked for at least once, so that a store that is away is said before anything is sent.
  const last = await feed.last({ signal })
  if (since === 'now') return last
  // An id of ours tells when the undertaking began: nothing of it is before.
  const begun = since === '0' ? timeOfUuidv7(query.get('correlation') ?? '') : undefined
  if (begun !== undefined) return await feed.sequenceBefore(new Date(begun.getTime() - clockSlackMs), { signal })
  if (/^\d{1,15}$/.test(since)) {
    if (Number(since) <= last) return Number(since)
    throw new AppError('REQUEST_INVALID', `the log ends at ${last}, before ${since}`, {
      hint: 'is it the log that this number is from?',
    })
  }
  const time = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.test(since)
    ? new Date(since)
    : undefined
  if (time !== undefined && !Number.isNaN(time.getTime())) return await feed.sequenceBefore(time, { signal })
  throw new AppError('REQUEST_INVALID', `since=${JSON.stringify(since.slice(0, 100))} is no sequence and no time`, {
    hint: 'a whole number, an RFC 3339 time like 2026-01-31T12:00:00Z, or now',
  })
}

/** One signal for both. (`AbortSignal.any` keeps what it made alive with the longer of the two.) */
function endedBy(client: AbortSignal, closing: AbortSignal) {
  const controller = new AbortController()
  const releases = [client, closing].map((signal) => onAbort(signal, () => controller.abort(signal.reason)))
  const release = () => {
    for (const each of releases) each()
  }
  return { signal: controller.signal, release }
}
