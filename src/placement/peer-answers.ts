import type { LayoutConfig } from '../config.ts'
import type { Nats } from '../nats/connection.ts'
import { logPositions, ownEventsAfter } from '../nats/log-positions.ts'
import type { Behind, MissingAnswer, MissingAsk } from './missing-messages.ts'
import { answerRanges } from './range-digest.ts'
import type { RootKeys } from './root-keys.ts'

export interface PeerAnswersParts {
  readonly nats: Nats
  readonly layout: Pick<LayoutConfig, 'domain' | 'site'>
  /** All that are known. */
  readonly sites: () => readonly string[]
  readonly keys: RootKeys
}

/** What this site tells another one that asks what it is missing. Nothing is kept between two questions. */
export class PeerAnswers {
  readonly #parts: PeerAnswersParts

  constructor(parts: PeerAnswersParts) {
    this.#parts = parts
  }

  get site(): string {
    return this.#parts.layout.site
  }

  /** @throws AppError STORE_UNAVAILABLE; the signal's reason */
  async answer({ positions, ranges }: MissingAsk, signal: AbortSignal): Promise<MissingAnswer> {
    const { nats, layout, sites, keys } = this.#parts
    const own = await logPositions(nats, layout, sites())
    const behind = await Promise.all(
      Object.entries(own).map(async ([site, there]): Promise<Behind[]> => {
        const here = positions[site] ?? 0
        if (here >= there) return []
        if (site !== layout.site) return [{ site, here, there }]
        return [{ site, here, there, events: await ownEventsAfter(nats, layout, here) }]
      }),
    )
    const told = { site: layout.site, behind: behind.flat() }
    if (ranges.length === 0) return { ...told, ranges: [] }
    const known = await keys.current(signal)
    return { ...told, roots: known.size, ranges: answerRanges(known, ranges) }
  }
}
