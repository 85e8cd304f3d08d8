import type { Beat } from './beats.ts'

export interface JoinedLogsParts {
  /** Of this node. */
  readonly site: string
  /** Has the log of another site come in. May be done again. */
  readonly joinLog: (peer: { readonly site: string; readonly jetstreamDomain: string }) => Promise<void>
  readonly onTrouble: (error: unknown) => void
}

/** Sites make themselves known by being heard: the first heartbeat of one has its log come in. */
export class JoinedLogs {
  readonly #parts: JoinedLogsParts
  readonly #joined = new Set<string>()

  constructor(parts: JoinedLogsParts) {
    this.#parts = parts
  }

  heard({ site, jetstreamDomain }: Pick<Beat, 'site' | 'jetstreamDomain'>): void {
    const { joinLog, onTrouble } = this.#parts
    if (site === this.#parts.site || this.#joined.has(site)) return
    this.#joined.add(site)
    joinLog({ site, jetstreamDomain }).catch((error: unknown) => {
      // Its next heartbeat tries again.
      this.#joined.delete(site)
      onTrouble(error)
    })
  }
}
