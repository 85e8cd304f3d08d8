import type { Abortable, Blockstore } from '../blocks/blockstore.ts'
import { type CarScope, carTag, exportCar } from '../dag/car-export.ts'
import { openPath } from '../dag/open.ts'
import type { ContentPath, DagLimits, ReadOptions, Target } from '../dag/target.ts'

// What an entrance needs to ask for content and to hold the answer.
export type { CarScope } from '../dag/car-export.ts'
export { parseCid } from '../dag/cid.ts'
export { parseContentPath } from '../dag/path.ts'
export type { ByteRange, ContentPath, DagLimits, DirectoryEntry, ReadOptions, Target } from '../dag/target.ts'

export interface Get {
  /**
   * Follows the path to what it names.
   * @throws AppError BLOCK_NOT_FOUND | PATH_NOT_FOUND | DAG_INVALID | CODEC_UNSUPPORTED | LIMIT_EXCEEDED and the store's;
   * the signal's reason when aborted
   */
  open(path: ContentPath, options: Abortable): Promise<Target>
  /** CAR v1 of the blocks on the way to the target, then (scope all) the whole DAG under it, depth first, each block once. */
  car(target: Target, scope: CarScope, options: ReadOptions): AsyncIterable<Uint8Array>
  /** What changes exactly when the bytes of that CAR do. */
  carTag(target: Target, scope: CarScope): string
}

export function createGet({ blocks, limits }: { blocks: Blockstore; limits: DagLimits }): Get {
  return {
    open: (path, { signal }) => openPath(path, blocks, { signal, limits }),
    car: (target, scope, options) => exportCar(target, blocks, { ...options, scope, limits }),
    carTag,
  }
}
