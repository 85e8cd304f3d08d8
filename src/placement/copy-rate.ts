import { decodeEvent } from '../events/envelope.ts'
import type { LogReader } from '../nats/log-reader.ts'

const lookBackMs = 24 * 3600 * 1000
const copiesMax = 2_000
/** Of small copies the time is all round trips. */
const bytesMin = 1024 * 1024

/**
 * Bytes a second at which copies of the last day were made, over all sites; undefined where none was large enough to tell.
 * @throws AppError STORE_UNAVAILABLE
 */
export async function measuredCopyRate(
  reader: Pick<LogReader, 'since'>,
  { domain, space }: { readonly domain: string; readonly space: string },
  signal: AbortSignal,
): Promise<number | undefined> {
  let total = 0
  let time = 0
  let copies = 0
  const since = new Date(Date.now() - lookBackMs)
  for await (const { payload } of reader.since(`${domain}.evt.*.${space}.copy.made.>`, since, signal)) {
    const { bytes, seconds } = decodeEvent(payload)?.data ?? {}
    if (typeof bytes === 'number' && typeof seconds === 'number' && bytes >= bytesMin && seconds > 0) {
      total += bytes
      time += seconds
    }
    if (++copies >= copiesMax) break
  }
  return time === 0 ? undefined : Math.round(total / time)
}
