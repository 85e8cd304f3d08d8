import type { KvBucket } from '../nats/kv-bucket.ts'
import type { LogReader } from '../nats/log-reader.ts'

/** Its name changes with what facts are made of: then all are made anew. */
export const positionKey = (space: string): string => `${space}.position-3`

export interface FoldPositionParts {
  readonly reader: Pick<LogReader, 'from'>
  /** Holds the position. */
  readonly bucket: Pick<KvBucket, 'get'>
  readonly domain: string
  readonly space: string
  /** Of this node, while it is the one that folds; it writes its position down only now and then. */
  readonly own: () => number | undefined
}

/** How far the facts are behind the log of this site, whichever of its nodes folds it. */
export class FoldPosition {
  readonly #parts: FoldPositionParts

  constructor(parts: FoldPositionParts) {
    this.#parts = parts
  }

  /** Whether the log has an event up to `sequence` that the facts may not show yet. @throws AppError STORE_UNAVAILABLE */
  async isBehind(sequence: number, signal: AbortSignal): Promise<boolean> {
    const { reader, domain, space, own } = this.#parts
    const position = own() ?? (await this.#written(signal))
    for await (const event of reader.from(`${domain}.evt.*.${space}.>`, position + 1, signal)) {
      return event.sequence <= sequence
    }
    return false
  }

  async #written(signal: AbortSignal): Promise<number> {
    const stored = await this.#parts.bucket.get(positionKey(this.#parts.space), signal)
    const position = stored === undefined || stored.removed ? 0 : Number(stored.value.toString('utf8'))
    return Number.isSafeInteger(position) ? position : 0
  }
}
