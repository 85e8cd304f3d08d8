import { setTimeout as delay } from 'node:timers/promises'
import { AppError, type ErrorCode, isAppError } from '../errors.ts'
import type { CallOptions } from './client.ts'
import { contentOf } from './http.ts'
import type { NodeCall } from './node-call.ts'
import { type Fields, fieldsOf } from './reply-fields.ts'
import { serverSentEvents } from './server-sent.ts'

export interface EventQuery {
  readonly entity?: string | undefined
  readonly verb?: string | undefined
  readonly prefix?: string | undefined
  readonly cid?: string | undefined
  readonly owner?: string | undefined
  /** Of one undertaking, at all sites. */
  readonly correlation?: string | undefined
  /** Only what comes after this number, or from this RFC 3339 time on. */
  readonly since?: string | undefined
}

export interface EventReply {
  /** Its number in the log of the site. */
  readonly sequence: number
  /** The CloudEvent as it came. */
  readonly json: Fields
}

export interface FollowOptions extends CallOptions {
  /** Go on with what happens from now; else it ends with the last event there is. */
  readonly follow: boolean
  /** The connection was cut; it is tried again. */
  readonly onCut?: (error: unknown) => void
  /** A connection on which nothing comes for so long is dead. */
  readonly silenceMs?: number
}

export interface EventsClient {
  /** In the order of the log, each event once, over any number of cut connections. @throws AppError as the node answers */
  follow(query: EventQuery, options: FollowOptions): AsyncIterable<EventReply>
}

const pauseMsMin = 200
const pauseMsMax = 5000
/** The node sends a sign of life every 15 s: four missed are too many, whatever TCP believes. */
const silenceMsDefault = 60_000
/** Without `follow`, a node that is gone stays gone: it is tried this often in a row. */
const triesMax = 5
const passing: readonly ErrorCode[] = ['NODE_UNREACHABLE', 'CONNECTION_LOST', 'STORE_UNAVAILABLE']

export function createEventsClient(call: NodeCall): EventsClient {
  return { follow: (query, options) => follow(call, query, options) }
}

async function* follow(call: NodeCall, query: EventQuery, options: FollowOptions): AsyncGenerator<EventReply> {
  const state: Position = { last: undefined, connected: false, tries: 0 }
  for (;;) {
    try {
      yield* oneConnection(call, query, state, options)
      if (!options.follow) return
      options.onCut?.(new AppError('CONNECTION_LOST', 'the node ended the stream of events'))
    } catch (error) {
      options.signal.throwIfAborted()
      const again = state.connected && isAppError(error) && passing.includes(error.code)
      if (!again || (!options.follow && state.tries >= triesMax)) throw error
      options.onCut?.(error)
    }
    await delay(Math.min(pauseMsMax, pauseMsMin * 2 ** state.tries++), undefined, { signal: options.signal })
  }
}

/** Where we are, over all connections. */
interface Position {
  /** Of the last event that was given out. */
  last: string | undefined
  connected: boolean
  /** Connections in a row that brought nothing. */
  tries: number
}

async function* oneConnection(
  call: NodeCall,
  { since, ...filter }: EventQuery,
  position: Position,
  { signal, follow, silenceMs = silenceMsDefault }: FollowOptions,
): AsyncGenerator<EventReply> {
  const { last } = position
  const resume: Record<string, string> = last === undefined ? {} : { 'last-event-id': last }
  const { response, request } = await call.open({
    method: 'GET',
    path: ['events'],
    query: { ...filter, follow, since: last === undefined ? since : undefined },
    headers: { accept: 'text/event-stream', ...resume },
    signal,
  })
  position.connected = true
  response.setTimeout(silenceMs, () => {
    response.destroy(Object.assign(new Error('the node gives no sign of life'), { code: 'ECONNRESET' }))
  })
  for await (const { id, data } of serverSentEvents(contentOf(response, request))) {
    if (id === undefined || !/^\d+$/.test(id))
      throw new AppError('INTERNAL', 'the node sends events without their number')
    position.tries = 0
    if (data !== undefined) yield { sequence: Number(id), json: parsed(data) }
    position.last = id
  }
}

function parsed(data: string): Fields {
  try {
    return fieldsOf(JSON.parse(data))
  } catch (cause) {
    throw new AppError('INTERNAL', 'the node sends an event that is no JSON', { cause })
  }
}
