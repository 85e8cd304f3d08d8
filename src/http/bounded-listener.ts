import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyHttpOptions } from 'fastify'
import type { LimitConfig } from '../config.ts'
import { answerMalformed, refuseExpectations } from '../lib/malformed-request.ts'
import type { LimitHits } from '../observability/limits.ts'
import { cutWhenIdle } from './connection.ts'

/** What a listener bounds of connections, before there is a request. */
export type ListenerLimits = Pick<LimitConfig, 'connectionsMax' | 'requestHeadMs' | 'sendIdleMs'>

/** The bounds that Fastify and Node keep by themselves. Every listener has them, with `boundConnections`. */
export function boundedOptions(limits: ListenerLimits, hits: LimitHits | undefined) {
  return {
    logger: false,
    forceCloseConnections: 'idle',
    connectionTimeout: limits.sendIdleMs,
    http: {
      // Node's own answer to a request without a host has no body.
      requireHostHeader: false,
      headersTimeout: limits.requestHeadMs,
      connectionsCheckingInterval: Math.max(100, limits.requestHeadMs / 10),
    },
    clientErrorHandler: (error: Error, socket: Socket) => {
      const kind = answerMalformed(error, socket)
      if (kind === 'head_bytes' || kind === 'head_time') hits?.hit(kind)
    },
  } as const satisfies FastifyHttpOptions<Server>
}

/** How many connections there may be, and how long one may be idle. */
export function boundConnections(server: Server, limits: ListenerLimits, hits: LimitHits | undefined): void {
  server.maxConnections = limits.connectionsMax
  server.on('drop', () => hits?.hit('connections'))
  server.on('timeout', (socket: Socket) => {
    if (cutWhenIdle(socket) === 'unread') hits?.hit('send_idle_time')
  })
  refuseExpectations(server)
}
