import type { Context, Draft, EventSource } from '../events/envelope.ts'
import { uuidv7 } from '../lib/uuid.ts'

/** What was not as the log says, and is now. */
export interface Repaired {
  readonly remade: readonly { readonly index: string; readonly reason: string }[]
  readonly differences: readonly { readonly index: string }[]
}

/** One event an audit that changed something, however much that was: keys are counted by index, not named. */
export function repairDraft({ remade, differences }: Repaired, { site }: Pick<EventSource, 'site'>): Draft<'index'> {
  const counts: Record<string, number> = {}
  for (const { index } of differences) counts[index] = (counts[index] ?? 0) + 1
  const data = {
    remade: remade.map(({ index, reason }) => ({ index, reason })),
    differences: differences.length,
    differencesByIndex: counts,
  }
  return { entity: 'index', verb: 'repaired', key: site, subject: site, data }
}

/** Nobody asked for it: the node acts by itself. */
export function repairContext({ site }: Pick<EventSource, 'site'>): Context {
  const [id, principal] = [uuidv7(), `node:${site}`]
  return {
    ...{ id, fresh: true, correlation: id, causation: undefined },
    ...{ owner: principal, principal, via: 'node', traceparent: undefined },
  }
}
