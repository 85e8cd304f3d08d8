import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { abortRun, isBackTo } from './abort-run.ts'
import type { RoundsOptions } from './placement-rounds.ts'

/** By the node's own doing: a busy machine makes everybody late. */
const busyMsMax = 200

/**
 * One node all the time, so that what is left of each abort adds up.
 * @returns whether all was well: no hang, the event loop never busy for long, and nothing left at the end
 */
export async function abortRounds({ seed, endMs, natsServer, log }: RoundsOptions): Promise<boolean> {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-aborts-'))
  try {
    const options = { dataDir, natsServer, seed, log, abortsMax: Number.POSITIVE_INFINITY, lastsMs: endMs - Date.now() }
    const result = await abortRun(options)
    log(JSON.stringify(result, undefined, 2))
    const { hangs, ended, lag, noise, busiestMs, before, after } = result
    log(`late by ${lag.max} ms at most, ${busiestMs} ms by its own doing; an idle server beside it by ${noise.max} ms`)
    return hangs.length === 0 && ended === undefined && busiestMs <= busyMsMax && isBackTo(before, after)
  } finally {
    await rm(dataDir, { recursive: true, force: true, maxRetries: 10 })
  }
}
