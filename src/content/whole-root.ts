import type { CID } from 'multiformats/cid'
import type { Abortable } from '../blocks/blockstore.ts'
import { type DagSource, missingBelow } from '../dag/open-links.ts'
import type { DagLimits } from '../dag/target.ts'
import { AppError } from '../errors.ts'
import type { ObjectLog } from '../names/object-log.ts'

export interface WholeRootParts {
  readonly objects: Pick<ObjectLog, 'isOnlyPart'>
  readonly blocks: DagSource
  readonly limits: DagLimits
}

/** Why neither a put nor a change of a name gives a name to a part. */
export const namedWholeOnly = 'a name stands for content that is all here'
const hint = 'import the CAR of what is missing, or of all of it, and name it then'

/**
 * A root of which only a part was put is named once all of it is here. Its blocks are looked for then, without reading leaves; a root that
 * was put as a whole costs one look-up in the log.
 * @throws AppError REQUEST_INVALID; LIMIT_EXCEEDED where the DAG is beyond the limits of a walk; STORE_UNAVAILABLE; the signal's reason
 */
export async function requireWhole(root: CID, parts: WholeRootParts, { signal }: Abortable): Promise<void> {
  const { objects, blocks, limits } = parts
  if (!(await objects.isOnlyPart(root, signal))) return
  const onUnreadable = (cid: CID, cause: unknown) => {
    throw refusal(root, `what its block ${cid} links to cannot be told`, cause)
  }
  for await (const missing of missingBelow([root], blocks, { signal, limits, onUnreadable })) {
    throw refusal(root, `its block ${missing} is not here`)
  }
}

const refusal = (root: CID, why: string, cause?: unknown): AppError =>
  new AppError('REQUEST_INVALID', `only a part of ${root} was put, and ${why}: ${namedWholeOnly}`, {
    ...(cause === undefined ? {} : { cause }),
    hint,
  })
