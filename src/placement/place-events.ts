import { canonicalJson, type Json } from '../events/canonical.ts'
import { type Draft, decodeEvent } from '../events/envelope.ts'
import type { LogMessage } from '../names/name-fold.ts'
import type { ProjectionRecord, SiteRecord, StoreRecord } from './model.ts'
import type { Policy } from './plan-model.ts'

/**
 * The events about sites, stores, the policy and projections, and what they become in the indexes: each says the whole of
 * what it is about, so the last one is what counts.
 */
export type StoreSettings = Pick<
  StoreRecord,
  'site' | 'store' | 'shards' | 'replicas' | 'zones' | 'createdAt' | 'state' | 'primary'
>

/** Removal of a projection keeps its id. */
export type ProjectionChange = ProjectionRecord | { readonly id: string; readonly removed: true }

export const placeEvents = {
  site: (record: SiteRecord): Draft<'site'> => ({
    ...{ entity: 'site', verb: 'set', key: record.site, subject: record.site },
    data: { ...record, labels: { ...record.labels } },
  }),
  /** Heard again, or no more, by the site that says so. */
  siteHeard: (site: string, up: boolean): Draft<'site'> => ({
    ...{ entity: 'site', verb: up ? 'up' : 'down', key: site, subject: site },
    data: { site },
  }),
  store: (record: StoreSettings): Draft<'store'> => {
    const { site, store, shards, replicas, zones, createdAt, state, primary } = record
    const key = `${site}.${store}`
    const data = { site, store, shards, replicas, zones: [...zones], createdAt, state, primary }
    return { entity: 'store', verb: 'set', key, subject: `${site}/${store}`, data }
  },
  policy: (space: string, policy: Policy): Draft<'policy'> => ({
    ...{ entity: 'policy', verb: 'set', key: space, subject: space },
    data: { policy: policy as unknown as Json },
  }),
  projection: (change: ProjectionChange): Draft<'projection'> => ({
    ...{ entity: 'projection', verb: 'removed' in change ? 'removed' : 'set', key: change.id, subject: change.id },
    data: 'removed' in change ? { id: change.id } : { ...change, subject: { ...change.subject } },
  }),
}

/** One entry of an index: `value` undefined = there is none any more. */
export interface PlaceEntry {
  readonly bucket: 'placement' | 'policy'
  readonly key: string
  readonly revision: number
  readonly value: Buffer | undefined
}

/** What one event of the log becomes in the indexes; undefined for all others. */
export function placeEntry({ subject, sequence, payload }: LogMessage): PlaceEntry | undefined {
  const [, kind, , space = '', entity, verb, ...rest] = subject.split('.')
  if (kind !== 'evt' || !['site', 'store', 'policy', 'projection'].includes(entity ?? '')) return undefined
  const event = decodeEvent(payload)
  if (event === undefined) return undefined
  const entry = (bucket: PlaceEntry['bucket'], key: string, value: Json | undefined): PlaceEntry => ({
    ...{ bucket, key, revision: sequence },
    value: value === undefined ? undefined : Buffer.from(canonicalJson(value)),
  })
  const record = { ...event.data, revision: sequence, eventId: event.id, time: event.time, owner: event.owner }
  switch (`${entity}.${verb}`) {
    case 'site.set':
      return entry('placement', `site.${rest.join('.')}`, record)
    case 'store.set':
      return entry('placement', `${space}.store.${rest.join('.')}`, record)
    case 'projection.set':
      return entry('placement', `${space}.projection.${rest.join('.')}`, record)
    case 'projection.removed':
      return entry('placement', `${space}.projection.${rest.join('.')}`, undefined)
    case 'policy.set':
      return entry('policy', space, record)
    default:
      return undefined
  }
}
