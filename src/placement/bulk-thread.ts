import type { NatsConfig, StoreConfig } from '../config.ts'
import type { DagLimits } from '../dag/target.ts'
import { WorkerThread } from '../lib/worker.ts'
import type {
  Bulk,
  BulkOptions,
  CopyJob,
  CopyOptions,
  DagJob,
  Mended,
  ScanJob,
  ScannedPage,
  ScanOptions,
} from './bulk.ts'
import type { CopySize } from './copy-events.ts'

/** What the thread is made with. It has connections of its own. */
export interface BulkThreadData {
  readonly natsUrl: string
  readonly nats: NatsConfig
  readonly store: StoreConfig
  readonly limits: DagLimits
}

export type BulkCall =
  | { readonly kind: 'copy'; readonly job: CopyJob }
  | { readonly kind: 'verify'; readonly job: DagJob }
  | { readonly kind: 'scan'; readonly job: ScanJob }

export type BulkPart =
  | { readonly kind: 'progress'; readonly size: CopySize }
  | { readonly kind: 'mended'; readonly mended: Mended }
  | { readonly kind: 'page'; readonly page: ScannedPage }

export type BulkResult = CopySize & { readonly newBlocks: number }

/**
 * `Bulk` in a thread of its own, with less priority than what answers requests: a page of blocks that is received, hashed and
 * collected as garbage would hold up every request of this node for a millisecond or more.
 */
export class BulkThread implements Bulk {
  readonly #thread: WorkerThread<BulkCall, BulkPart, BulkResult>

  constructor(data: BulkThreadData, idleMs?: number) {
    // As this file was built, or not.
    const name = import.meta.url.endsWith('.ts') ? './bulk-worker.ts' : './bulk-worker.js'
    this.#thread = new WorkerThread(new URL(name, import.meta.url), data, idleMs)
  }

  copy(job: CopyJob, options: CopyOptions): Promise<BulkResult> {
    return this.#run({ kind: 'copy', job }, options)
  }

  verify(job: DagJob, options: BulkOptions): Promise<CopySize> {
    return this.#run({ kind: 'verify', job }, options)
  }

  async scan(job: ScanJob, options: ScanOptions): Promise<void> {
    await this.#run({ kind: 'scan', job }, options)
  }

  close(): Promise<void> {
    return this.#thread.close()
  }

  #run(call: BulkCall, { signal, ...handlers }: CopyOptions & Partial<ScanOptions>): Promise<BulkResult> {
    return this.#thread.run(call, {
      signal,
      onPart: (part) => {
        switch (part.kind) {
          case 'progress':
            return handlers.onProgress?.(part.size)
          case 'mended':
            return handlers.onMended?.(part.mended)
          case 'page':
            return handlers.onPage?.(part.page)
        }
      },
    })
  }
}
