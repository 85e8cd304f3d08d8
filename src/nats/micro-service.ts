import { nuid } from '@nats-io/transport-node'
import type { Incoming, Messaging } from './messaging.ts'

/** One subject that is answered; what `nats micro info` shows of it. */
export interface Endpoint {
  readonly name: string
  readonly subject: string
  readonly metadata: Readonly<Record<string, string>>
  /** Of whoever shares it one answers each message; `q` where absent. */
  readonly queue?: string
  /** Answers the message itself. @returns why it failed, for the statistics; undefined when it did not */
  handle(message: Incoming): Promise<{ readonly code: number; readonly message: string } | undefined>
}

export interface ServiceIdentity {
  /** Letters, digits, `-` and `_`. */
  readonly name: string
  /** Semantic version. */
  readonly version: string
  readonly description: string
  readonly metadata: Readonly<Record<string, string>>
}

export interface MicroService {
  readonly id: string
  /** Requests under way in this process. */
  readonly pending: number
  /** Takes no more requests; resolves when those under way are answered. */
  stop(): Promise<void>
}

const queueGroup = 'q'
const nsPerMs = 1_000_000

interface Statistics {
  requests: number
  errors: number
  lastError: string
  processingNs: number
}

/**
 * A service as ADR-32 has it, so that `nats micro ls|info|stats` shows it: `$SRV.PING|INFO|STATS[.<name>[.<id>]]`, and
 * endpoints in one queue group, so that any number of nodes share the work.
 * (@nats-io/services on npm is older than the client it would have to work with.)
 */
export async function startMicroService(
  messaging: Messaging,
  identity: ServiceIdentity,
  endpoints: readonly Endpoint[],
): Promise<MicroService> {
  const id = nuid.next()
  const started = new Date().toISOString()
  const { name, version, description, metadata } = identity
  const self = { name, id, version, metadata }
  const statistics = endpoints.map((): Statistics => ({ requests: 0, errors: 0, lastError: '', processingNs: 0 }))
  const underWay = new Set<Promise<void>>()

  const answers: Readonly<Record<string, () => object>> = {
    PING: () => ({ ...self, type: 'io.nats.micro.v1.ping_response' }),
    INFO: () => ({
      ...self,
      type: 'io.nats.micro.v1.info_response',
      description,
      endpoints: endpoints.map((endpoint) => ({
        name: endpoint.name,
        subject: endpoint.subject,
        queue_group: endpoint.queue ?? queueGroup,
        metadata: endpoint.metadata,
      })),
    }),
    STATS: () => ({
      ...self,
      type: 'io.nats.micro.v1.stats_response',
      started,
      endpoints: endpoints.map((endpoint, index) => statisticsOf(endpoint, statistics[index])),
    }),
  }
  const control = Object.entries(answers).flatMap(([verb, answer]) =>
    [`$SRV.${verb}`, `$SRV.${verb}.${name}`, `$SRV.${verb}.${name}.${id}`].map((subject) =>
      messaging.listen(subject, undefined, ({ reply }) => {
        if (reply === undefined || !isReplySubject(reply)) return
        messaging.send(reply, { data: JSON.stringify(answer()) })
      }),
    ),
  )
  const serving = endpoints.map((endpoint, index) =>
    messaging.listen(endpoint.subject, endpoint.queue ?? queueGroup, (message) => {
      const work = measured(endpoint, message, statistics[index]).finally(() => underWay.delete(work))
      underWay.add(work)
    }),
  )
  await messaging.flush()
  return {
    id,
    get pending() {
      return underWay.size
    },
    stop: async () => {
      for (const { stop } of [...serving, ...control]) stop()
      await Promise.allSettled(underWay)
    },
  }
}

async function measured(endpoint: Endpoint, message: Incoming, statistics: Statistics | undefined): Promise<void> {
  const startMs = performance.now()
  const failure = await endpoint.handle(message)
  if (statistics === undefined) return
  statistics.requests++
  statistics.processingNs += Math.round((performance.now() - startMs) * nsPerMs)
  if (failure === undefined) return
  statistics.errors++
  statistics.lastError = `${failure.code}:${failure.message}`
}

function statisticsOf({ name, subject, queue = queueGroup }: Endpoint, statistics: Statistics | undefined): object {
  const { requests = 0, errors = 0, lastError = '', processingNs = 0 } = statistics ?? {}
  return {
    name,
    subject,
    queue_group: queue,
    num_requests: requests,
    num_errors: errors,
    last_error: lastError,
    processing_time: processingNs,
    average_processing_time: requests === 0 ? 0 : Math.round(processingNs / requests),
  }
}

/**
 * Whether an answer may be sent there. A reply subject is the requester's choice, and we may publish where it may not: what
 * starts with `$` belongs to the server and JetStream (`$JS.API.STREAM.DELETE.…`, `$SYS.…`, `$KV.…`, `$O.…`).
 */
export function isReplySubject(subject: string): boolean {
  return subject.length <= 512 && /^[^\s.*>$\p{Cc}][^\s.*>\p{Cc}]*(\.[^\s.*>\p{Cc}]+)*$/u.test(subject)
}
