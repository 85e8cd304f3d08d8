import type { Abortable, Blockstore } from '../blocks/blockstore.ts'
import { type CarParams, carTag, exportCar } from '../dag/car-export.ts'
import { followPath, openPath } from '../dag/open.ts'
import { exportTar, tarTag } from '../dag/tar-export.ts'
import type { ContentPath, DagLimits, DeadEnd, ReadOptions, Target } from '../dag/target.ts'
import { type JudgeFailure, judgedGet } from './judged-get.ts'

// What an entrance needs to ask for content and to hold the answer.
export type { CarParams, CarScope } from '../dag/car-export.ts'
export { parseCid } from '../dag/cid.ts'
export { decodeData } from '../dag/codecs.ts'
export type { EntityBytes } from '../dag/entity.ts'
export { parseContentPath } from '../dag/path.ts'
export type {
  ByteRange,
  ContentPath,
  DagLimits,
  DeadEnd,
  DirectoryEntry,
  Position,
  ReadOptions,
  Target,
} from '../dag/target.ts'

/** Where a path ends. */
export type PathEnd = Target | DeadEnd

export interface Get {
  /**
   * Follows the path to what it names.
   * @throws AppError BLOCK_NOT_FOUND | PATH_NOT_FOUND | DAG_INVALID | CODEC_UNSUPPORTED | LIMIT_EXCEEDED and the store's;
   * the signal's reason when aborted
   */
  open(path: ContentPath, options: Abortable): Promise<Target>
  /** As `open`, but where the path leads to no block this tells so, and no PATH_NOT_FOUND is thrown: a CAR can show it. */
  follow(path: ContentPath, options: Abortable): Promise<PathEnd>
  /** CAR v1 of the blocks on the way to the path's end, then what the params ask of the DAG under it, depth first. */
  car(end: PathEnd, params: CarParams, options: ReadOptions): AsyncIterable<Uint8Array>
  /**
   * What changes exactly when the bytes of that CAR do.
   * @throws AppError REQUEST_INVALID when the bytes asked for lie outside of the file
   */
  carTag(end: PathEnd, params: CarParams): string
  /** The target and all below it as a tar. @throws AppError as `exportTar`, when its first chunk is asked for or later */
  tar(target: Target, options: ReadOptions): AsyncIterable<Uint8Array>
  /** What changes exactly when the content of that tar does. */
  tarTag(target: Target): string
}

export interface GetParts {
  readonly blocks: Blockstore
  readonly limits: DagLimits
  /** Says what a failure means for what was announced; asked only after one. */
  readonly judge?: JudgeFailure
}

export function createGet({ blocks, limits, judge }: GetParts): Get {
  const get: Get = {
    open: (path, { signal }) => openPath(path, blocks, { signal, limits }),
    follow: (path, { signal }) => followPath(path, blocks, { signal, limits }),
    car: (end, params, options) => exportCar(end, blocks, { ...options, ...params, limits }),
    carTag,
    tar: (target, options) => exportTar(target, blocks, { ...options, limits }),
    tarTag,
  }
  return judge === undefined ? get : judgedGet(get, judge)
}
