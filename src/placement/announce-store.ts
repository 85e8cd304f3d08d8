import { KvBucket } from '../nats/kv-bucket.ts'
import { placementBucket } from '../nats/layout.ts'
import { Fence } from './fence.ts'
import type { PlacementParts } from './placement-parts.ts'
import { Recorder } from './recorder.ts'
import { SiteKeeper, whenLogIsWhole } from './site-keeper.ts'

/**
 * For a node that takes no part in placement: other nodes of its site may sweep the store that it is about to put into, where the
 * log knows it as one for copies. A store that the log does not know is not swept.
 * @throws AppError STORE_UNAVAILABLE
 */
export async function announceStore(parts: PlacementParts): Promise<void> {
  const { nats, layout, waitMs, eventLog, source, names } = parts
  const { domain, space, site, store, replicas } = layout
  const filter = `${domain}.evt.*.${space}.store.set.${site}.${store}`
  const known = await names.reader.last([filter], new AbortController().signal)
  if (known.length === 0) return
  const description = 'Stowage: sites, stores and copies'
  const bucket = await KvBucket.open(nats, placementBucket(domain), { replicas, waitMs, description })
  const fence = new Fence(bucket, layout)
  const recorder = new Recorder(eventLog, source)
  const keeper = new SiteKeeper({ ...parts, recorder, fence, reader: names.reader })
  await whenLogIsWhole(() => keeper.takePuts(), new AbortController().signal, parts.onTrouble)
}
