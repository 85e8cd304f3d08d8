import type { LayoutConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import { isRecord } from '../lib/json.ts'
import type { Nats } from '../nats/connection.ts'
import { logPositions } from '../nats/log-positions.ts'
import { requestJson } from '../nats/request-json.ts'
import { CatchUp } from './catch-up.ts'
import type { IsNamed } from './contexts.ts'
import type { Facts } from './facts.ts'
import { Missing, type MissingParts } from './missing.ts'
import { type MissingAnswer, type MissingAsk, missingAnswerOf, missingSubject } from './missing-messages.ts'
import { Overview } from './overview.ts'
import { PeerAnswers } from './peer-answers.ts'
import { RootKeys } from './root-keys.ts'
import type { PlacementView } from './view.ts'

export interface PeersParts extends Pick<MissingParts, 'plan' | 'reconcile' | 'join'> {
  readonly nats: Nats
  readonly layout: Pick<LayoutConfig, 'domain' | 'site' | 'space'>
  readonly facts: Facts
  readonly view: PlacementView
  readonly isNamed: IsNamed
  readonly consider: (rootKey: string) => void
  readonly silentMs: number
  readonly onTrouble: (error: unknown) => void
}

/** Other sites, asked and answered: what one is missing, and where everything lies. */
export class Peers {
  readonly overview: Overview
  readonly answers: PeerAnswers
  readonly missing: Missing
  readonly catchUp: CatchUp
  readonly #keys: RootKeys

  constructor(parts: PeersParts) {
    const { nats, layout, facts, view, isNamed, consider, silentMs, onTrouble } = parts
    const keys = new RootKeys(facts)
    this.#keys = keys
    const sites = () => view.sites.flatMap(({ site, state }) => (state === 'active' ? [site] : []))
    this.overview = new Overview({ facts, inventory: () => view.inventory(), isNamed })
    this.answers = new PeerAnswers({ nats, layout, sites, keys })
    this.missing = new Missing({
      ...{ site: layout.site, keys, facts, plan: parts.plan, reconcile: parts.reconcile, join: parts.join },
      peers: () => sites().filter((site) => site !== layout.site && view.isUp(site)),
      positions: () => logPositions(nats, layout, sites()),
      ask: (site, ask, signal) => askSite(nats, layout, site, ask, signal),
    })
    this.catchUp = new CatchUp({ missing: this.missing, consider, silentMs, onTrouble })
  }

  close(): void {
    this.overview.close()
    this.#keys.close()
  }
}

const answerMsMax = 30_000

/** @throws AppError STORE_UNAVAILABLE without an answer in time; REQUEST_INVALID for what is none */
async function askSite(
  nats: Nats,
  layout: PeersParts['layout'],
  site: string,
  ask: MissingAsk,
  signal: AbortSignal,
): Promise<MissingAnswer> {
  const value = await requestJson(nats, missingSubject(layout, site), ask, { timeoutMs: answerMsMax, signal })
  if (isRecord(value) && typeof value.code === 'string') {
    throw new AppError('STORE_UNAVAILABLE', `${site} answers: ${String(value.message)}`)
  }
  return missingAnswerOf(value)
}
