import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LimitHits } from '../../observability/limits.ts'
import type { RepairCounts } from '../../placement/repair.ts'

export interface Counted {
  readonly limitHits: Pick<LimitHits, 'counts'>
  /** Undefined where copies are not watched over. */
  readonly repairs: (() => RepairCounts) | undefined
}

/**
 * `GET /metrics`: what is counted, in the text format that Prometheus reads.
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */
export function metricsHandler({ limitHits, repairs }: Counted) {
  return async (_request: FastifyRequest, reply: FastifyReply) => {
    reply.header('content-type', 'text/plain; version=0.0.4; charset=utf-8').header('cache-control', 'no-store')
    const lines = Object.entries(limitHits.counts()).map(
      ([limit, hits]) => `stowage_limit_hits_total{limit="${limit}"} ${hits}`,
    )
    return [
      '# HELP stowage_limit_hits_total How often a request met a limit since the start.',
      '# TYPE stowage_limit_hits_total counter',
      ...lines,
      ...(repairs === undefined ? [] : repairLines(repairs())),
      '',
    ].join('\n')
  }
}

function repairLines({ repaired, onRead, unrepaired, lost, restored }: RepairCounts): string[] {
  const counters: [name: string, help: string, value: number][] = [
    ['blocks_repaired', 'Blocks written again from another copy.', repaired],
    ['blocks_repaired_on_read', 'Of them, those that a read met.', onRead],
    ['repairs_failed', 'Blocks and roots that no other copy could repair.', unrepaired],
    ['objects_lost', 'Content of which no whole copy was left.', lost],
    ['objects_restored', 'Lost content that came back.', restored],
  ]
  return counters.flatMap(([name, help, value]) => [
    `# HELP stowage_${name}_total ${help}`,
    `# TYPE stowage_${name}_total counter`,
    `stowage_${name}_total ${value}`,
  ])
}
