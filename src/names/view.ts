import type { CID } from 'multiformats/cid'
import type { DeletedSet } from './deleted-set.ts'
import type { NameIndex } from './name-index.ts'

/**
 * Whether a root is out of view: it was deleted, and no name holds it.
 *
 * A name may be set by one node while another one deletes its root. Neither commit can expect anything of the other (a
 * message of the log has one expectation, and a name's is its own revision), so both may be taken, in either order. Then the
 * name wins: it never leads to content that was taken away under it, and once it is gone the deletion holds.
 * In memory where nothing was deleted, else one or two requests.
 * @throws AppError STORE_UNAVAILABLE; LOG_DAMAGED while nobody knows what was deleted; the signal's reason
 */
export async function isOutOfView(
  { deleted, index }: { readonly deleted: DeletedSet; readonly index: NameIndex },
  cid: CID,
  signal: AbortSignal,
): Promise<boolean> {
  deleted.throwIfUnknown()
  return deleted.has(cid) && !(await index.isNamed(cid, signal))
}
