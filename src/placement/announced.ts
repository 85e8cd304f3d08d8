import type { CID } from 'multiformats/cid'
import { rootKey } from '../names/name-fold.ts'
import type { LogReader } from '../nats/log-reader.ts'
import type { Facts } from './facts.ts'
import { objectIn, rootEffects } from './fold.ts'
import type { RootFacts } from './model.ts'

/**
 * What the log says of a root, also of one whose events were not folded yet: between a put and its facts lies a moment, in
 * which a failed read must not take it for unknown. Costs two look-ups; for answers that are failures anyway.
 */
export async function announcedFacts(
  root: CID,
  parts: {
    readonly facts: Pick<Facts, 'get'>
    readonly reader: Pick<LogReader, 'last'>
    readonly domain: string
    readonly space: string
  },
  signal: AbortSignal,
): Promise<RootFacts | undefined> {
  const { facts, reader, domain, space } = parts
  const key = rootKey(root)
  const known = objectIn(await facts.get(key, signal))
  if (known !== undefined) return known
  const messages = await reader.last([`${domain}.evt.*.${space}.object.*.${root.toV1()}`], signal)
  const announced = messages
    .toSorted((a, b) => a.sequence - b.sequence)
    .flatMap((message) => rootEffects(message))
    .filter((effect) => effect.key === key)
    .reduce<RootFacts | undefined>((now, effect) => effect.apply(now), undefined)
  return objectIn(announced)
}
