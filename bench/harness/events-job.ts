export interface EventsJob {
  readonly kind: 'group' | 'single' | 'latency'
  readonly url: string
  readonly domain: string
  readonly count: number
  readonly atOnce: number
}

export interface EventsResult {
  readonly seconds: number
  /** Milliseconds, ascending. */
  readonly latencies: readonly number[]
}
