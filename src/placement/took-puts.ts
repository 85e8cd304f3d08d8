import type { StoreRef } from '../blocks/store-ref.ts'
import type { LayoutConfig } from '../config.ts'
import { decodeEvent } from '../events/envelope.ts'
import type { Nats } from '../nats/connection.ts'
import { eventStream } from '../nats/layout.ts'
import { messagesAtLeader } from '../nats/leader-get.ts'

/**
 * Whether the log says of a store that it takes puts, or ever did: `store.set` of all sites, as the leader has it now.
 * @throws TransientError
 */
export async function tookPuts(
  nats: Nats,
  { domain, space }: Pick<LayoutConfig, 'domain' | 'space'>,
  { site, store }: StoreRef,
): Promise<boolean> {
  const filter = `${domain}.evt.*.${space}.store.set.${site}.${store}`
  for await (const { data } of messagesAtLeader(nats, eventStream(domain), filter)) {
    if (decodeEvent(data)?.data?.primary !== false) return true
  }
  return false
}
