/** Every bound that a request can meet, as metrics name it; what it is and its setting are in the README's table. */
export const limitNames = [
  // a connection and its requests
  'connections',
  'concurrent_total',
  'concurrent_per_client',
  'head_bytes',
  'head_time',
  'path_bytes',
  'path_segments',
  'retrieval_time',
  'request_time',
  'send_idle_time',
  // content
  'file_bytes',
  'dag_depth',
  'dag_blocks',
  'dag_bytes',
  'dag_expanded_bytes',
  'node_links',
  'held_bytes',
  'block_bytes',
  // uploads
  'upload_bytes',
  'upload_entries',
  'upload_idle_time',
  'car_header_bytes',
  'car_roots',
  'car_blocks',
] as const

export type LimitName = (typeof limitNames)[number]

/** How often each limit was met since the start. */
export class LimitHits {
  readonly #counts = new Map<LimitName, number>(limitNames.map((name) => [name, 0]))

  hit(limit: LimitName): void {
    this.#counts.set(limit, (this.#counts.get(limit) ?? 0) + 1)
  }

  /** Counts a failure that came of a limit; others are no matter of ours. */
  failed(error: unknown): void {
    const limit = error instanceof Error && 'limit' in error ? error.limit : undefined
    if (this.#counts.has(limit as LimitName)) this.hit(limit as LimitName)
  }

  /** All of them, in a fixed order. */
  counts(): Readonly<Record<LimitName, number>> {
    return Object.fromEntries(this.#counts) as Record<LimitName, number>
  }
}
