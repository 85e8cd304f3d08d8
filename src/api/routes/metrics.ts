import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LimitHits } from '../../observability/limits.ts'
import type { UnansweredCounts } from '../../observability/unanswered.ts'
import type { Placement } from '../../placement/placement.ts'

type PlacementCounts = Placement['counts']

export interface Counted {
  /** By listener. */
  readonly limitHits: Readonly<Record<string, Pick<LimitHits, 'counts'>>>
  /** Undefined where copies are not watched over. */
  readonly placement: (() => PlacementCounts) | undefined
  /** Undefined where this node has no NATS entrance. */
  readonly unanswered?: (() => UnansweredCounts) | undefined
  /** Of the event log and its indexes. */
  readonly folding?: (() => FoldingCounts) | undefined
}

/** Since the start of this node. */
export interface FoldingCounts {
  readonly fault: boolean
  readonly audits: number
  readonly differences: number
  readonly remade: number
}

type Metric = readonly [name: string, help: string, value: number]

/**
 * `GET /metrics`: what is counted, in the text format that Prometheus reads.
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */
export function metricsHandler({ limitHits, placement, unanswered, folding }: Counted) {
  return async (_request: FastifyRequest, reply: FastifyReply) => {
    reply.header('content-type', 'text/plain; version=0.0.4; charset=utf-8').header('cache-control', 'no-store')
    const hits = Object.entries(limitHits).flatMap(([listener, of]) =>
      Object.entries(of.counts()).map(
        ([limit, count]) => `stowage_limit_hits_total{listener="${listener}",limit="${limit}"} ${count}`,
      ),
    )
    return [
      '# HELP stowage_limit_hits_total How often a request met a limit since the start.',
      '# TYPE stowage_limit_hits_total counter',
      ...hits,
      ...(unanswered === undefined ? [] : unansweredLines(unanswered())),
      ...(folding === undefined ? [] : foldingLines(folding())),
      ...(placement === undefined ? [] : placementLines(placement())),
      '',
    ].join('\n')
  }
}

function unansweredLines(counts: UnansweredCounts): string[] {
  return [
    '# HELP stowage_nats_unanswered_total Messages on NATS whose senders wanted no answer, or none that may be sent.',
    '# TYPE stowage_nats_unanswered_total counter',
    `stowage_nats_unanswered_total{what="command_done"} ${counts.done}`,
    `stowage_nats_unanswered_total{what="command_failed"} ${counts.failed}`,
    `stowage_nats_unanswered_total{what="query"} ${counts.queries}`,
  ]
}

function foldingLines({ fault, audits, differences, remade }: FoldingCounts): string[] {
  return [
    ...lines('log_damaged', 'gauge', 'Whether the event log lost events, and takes none: 1 or 0.', fault ? 1 : 0),
    ...lines('index_audits_total', 'counter', 'Comparisons of the indexes with the event log.', audits),
    ...lines('index_differences_total', 'counter', 'Keys that were not as the event log says.', differences),
    ...lines('indexes_remade_total', 'counter', 'Indexes that were gone or damaged, and made anew.', remade),
  ]
}

function placementLines(counts: PlacementCounts): string[] {
  const counters: readonly Metric[] = [
    ['copies_made', 'Copies that this node made, verified.', counts.made],
    ['copies_removed', 'Copies that this node told to be gone.', counts.removed],
    ['copies_failed', 'Tries to make or remove a copy that failed.', counts.failed],
    ['copy_bytes_read', 'Bytes read to make and verify copies.', counts.bytes],
    ['swept_blocks', 'Blocks that no copy needed any more, freed.', counts.swept.freed],
    ['blocks_repaired', 'Blocks written again from another copy.', counts.repaired],
    ['blocks_repaired_on_read', 'Of them, those that a read met.', counts.onRead],
    ['repairs_failed', 'Blocks and roots that no other copy could repair.', counts.unrepaired],
    ['objects_lost', 'Content of which no whole copy was left.', counts.lost],
    ['objects_restored', 'Lost content that came back.', counts.restored],
  ]
  const gauges: readonly Metric[] = [
    ['copies_under_way', 'Copies that this node makes or removes now.', counts.busy],
    ['roots_waiting', 'Content whose copies are to be looked at, at the node that plans.', counts.waiting],
    ['plans', 'Whether this node plans for its site: 1 or 0.', counts.plans ? 1 : 0],
  ]
  return [
    ...counters.flatMap(([name, help, value]) => lines(`${name}_total`, 'counter', help, value)),
    ...gauges.flatMap(([name, help, value]) => lines(name, 'gauge', help, value)),
  ]
}

function lines(name: string, type: 'counter' | 'gauge', help: string, value: number): string[] {
  return [`# HELP stowage_${name} ${help}`, `# TYPE stowage_${name} ${type}`, `stowage_${name} ${value}`]
}
