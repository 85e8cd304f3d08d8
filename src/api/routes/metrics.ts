import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LimitHits } from '../../observability/limits.ts'

/**
 * `GET /metrics`: what is counted, in the text format that Prometheus reads.
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */
export function metricsHandler(limitHits: Pick<LimitHits, 'counts'>) {
  return async (_request: FastifyRequest, reply: FastifyReply) => {
    reply.header('content-type', 'text/plain; version=0.0.4; charset=utf-8').header('cache-control', 'no-store')
    const lines = Object.entries(limitHits.counts()).map(
      ([limit, hits]) => `stowage_limit_hits_total{limit="${limit}"} ${hits}`,
    )
    return [
      '# HELP stowage_limit_hits_total How often a request met a limit since the start.',
      '# TYPE stowage_limit_hits_total counter',
      ...lines,
      '',
    ].join('\n')
  }
}
