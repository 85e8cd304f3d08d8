import { setTimeout as delay } from 'node:timers/promises'
import type { FullNode } from './full-node.ts'

/** Sets the policy of the space over the API. */
export async function setPolicy({ node, token }: FullNode, policy: object): Promise<void> {
  const reply = await fetch(`${node.apiUrl}/api/v1/policies/main`, {
    method: 'PUT',
    body: JSON.stringify(policy),
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
  })
  if (!reply.ok) throw new Error(`${reply.status} ${await reply.text()}`)
}

/** The copy events of a root in a node's log, in its order, once they are as wanted. */
export async function waitForEvents<E extends { readonly type: string }>(
  { node, token }: FullNode,
  cid: string,
  enough: (events: readonly E[]) => boolean,
  waitMs = 60_000,
): Promise<readonly E[]> {
  const endMs = performance.now() + waitMs
  const query = new URLSearchParams({ follow: 'false', entity: 'copy', cid })
  const headers = { authorization: `Bearer ${token}`, accept: 'application/x-ndjson' }
  for (;;) {
    const reply = await fetch(`${node.apiUrl}/api/v1/events?${query}`, { headers })
    const lines = (await reply.text()).split('\n').filter((line) => line !== '')
    const events = lines.map((line) => eventIn(line) as unknown as E)
    if (enough(events)) return events
    if (performance.now() > endMs) {
      throw new Error(`not enough after ${waitMs} ms: ${events.map(({ type }) => type).join(' ')}`)
    }
    await delay(100)
  }
}

/** A line is the event, or holds it beside its sequence. */
function eventIn(line: string): object {
  const value = JSON.parse(line) as { readonly event?: object }
  return value.event ?? value
}
