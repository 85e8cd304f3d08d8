import type { Blockstore } from '../blocks/blockstore.ts'
import { denied } from '../blocks/denied.ts'
import type { DagLimits } from '../dag/target.ts'
import { deniedGet } from './denied-get.ts'
import { Denials } from './denylist.ts'
import { type DenylistOptions, watchDenylist } from './denylist-file.ts'
import { createGet, type Get } from './get.ts'
import type { JudgeFailure } from './judged-get.ts'

/** What entrances read content through: everything but what a denylist takes out. */
export interface Serving {
  readonly get: Get
  readonly blocks: Blockstore
  /** Before a name is looked up. @throws AppError CONTENT_DENIED | CONTENT_DENIED_LEGALLY */
  readonly checkName: (name: string, below: readonly string[]) => void
  close(): void
}

export interface ServingParts extends Pick<DenylistOptions, 'loaded' | 'failed'> {
  readonly blocks: Blockstore
  readonly limits: DagLimits
  /** See `createGet`. */
  readonly judge?: JudgeFailure
}

/** @param denylist file or folder; undefined = nothing is denied, and nothing is asked @throws AppError SETTING_INVALID */
export async function openServing(denylist: string | undefined, parts: ServingParts): Promise<Serving> {
  const { blocks, limits, judge, loaded, failed } = parts
  const judged = judge === undefined ? {} : { judge }
  if (denylist === undefined) {
    return { get: createGet({ blocks, limits, ...judged }), blocks, checkName: () => undefined, close: () => undefined }
  }
  const denials = new Denials()
  const watch = await watchDenylist(denylist, { denials, loaded, failed })
  const served = denied(blocks, (cid) => denials.checkBlock(cid))
  return {
    get: deniedGet(createGet({ blocks: served, limits, ...judged }), denials),
    blocks: served,
    checkName: (name, below) => denials.checkName(name, below),
    close: () => watch.close(),
  }
}
