import { encodeEvent } from '../events/envelope.ts'
import type { FoldMarks } from '../events/fold-mark.ts'
import type { EventLog } from '../events/log.ts'
import { faultText } from '../events/log-fault.ts'
import type { LogGuard } from '../events/log-guard.ts'
import type { Reach } from '../lib/crash-point.ts'
import type { Nats } from '../nats/connection.ts'
import { Conflicts } from './conflicts.ts'
import { IndexKeeper, type IndexKeeperParts, type Mended } from './index-keeper.ts'
import type { Names } from './names.ts'
import { Projector } from './projector.ts'
import { type Repaired, repairContext, repairDraft } from './repair-event.ts'
import { StreamWatch, type StreamWatchParts } from './stream-watch.ts'

export interface FoldingParts extends Pick<IndexKeeperParts, 'waitMs' | 'auditEveryMs' | 'onMended' | 'onTrouble'> {
  readonly folded: { readonly log: EventLog; readonly guard: LogGuard; readonly marks: FoldMarks }
  readonly names: Names
  readonly onRemade: (index: string, reason: string) => void
  readonly onDamaged: StreamWatchParts['onDamaged']
  readonly onRestored: StreamWatchParts['onRestored']
  readonly reach: Reach
  readonly signal: AbortSignal
}

/**
 * What brings the indexes up to the log, and what keeps them so. When it resolves, nothing that was deleted is in view.
 * @throws AppError STORE_UNAVAILABLE
 */
export async function startFolding(nats: Nats, parts: FoldingParts) {
  const { folded, names, reach, signal } = parts
  const { log, guard, marks } = folded
  const { site } = names.source
  let writing: Promise<unknown> = Promise.resolve()
  const record = (repaired: Repaired): void => {
    const event = encodeEvent(repairDraft(repaired, names.source), repairContext(names.source), names.source)
    writing = Promise.all([writing, log.append([{ event }]).catch(parts.onTrouble)])
  }
  const onMended = (mended: Mended): void => {
    parts.onMended(mended)
    record(mended)
  }
  /** For what is folded elsewhere. */
  const onRemade = (index: string, reason: string): void => {
    parts.onRemade(index, reason)
    record({ remade: [{ index, reason }], differences: [] })
  }
  const keeper = new IndexKeeper({ ...parts, nats, guard, marks, onMended })
  await keeper.settle(signal)
  const watch = new StreamWatch({ ...parts, nats, domain: names.source.domain, bucket: names.buckets.names })
  const conflicts = new Conflicts(log, names.reader, names.source)
  const projector = await Projector.start(nats, { stream: log.stream, names, site, conflicts, guard, marks, reach })
  keeper.start()
  await watch.start()
  watch.restoring('keys', { restore: () => names.keys.makeAnew() })
  const close = async () => {
    await watch.close()
    await keeper.close()
    await writing
    await projector.close()
  }
  const counts = () => ({ ...keeper.counts, fault: guard.fault !== undefined })
  /** For the status of the node. */
  const report = () => {
    const fault = guard.fault === undefined ? null : faultText(guard.fault)
    return { epoch: guard.identity.epoch, last: guard.last, fault, ...keeper.counts }
  }
  const restoring = watch.restoring.bind(watch)
  return { projector, keeper, onRemade, restoring, counts, report, close }
}
