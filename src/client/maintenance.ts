import type { CallOptions } from './client.ts'
import type { NodeCall } from './node-call.ts'
import { type Fields, fieldsOf } from './reply-fields.ts'

/** What changes or checks a node as a whole. The shapes are for people and may grow. */
export interface MaintenanceClient {
  /** Takes content out of view. @throws AppError OBJECT_NAMED while names hold it, unless `force` */
  deleteObject(cid: string, options: CallOptions & { readonly force: boolean }): Promise<Fields>
  /** Compares the name index with the log; with `repair` it is made equal. */
  verifyIndex(options: CallOptions & { readonly repair: boolean }): Promise<Fields>
  /** Drops the name index and builds it from the log. */
  rebuildIndex(options: CallOptions): Promise<Fields>
  /** Whether the event log is whole, and what was lost. */
  logStatus(options: CallOptions): Promise<Fields>
  /** Begins a new epoch of a log that lost events. @throws AppError REQUEST_INVALID for one that is whole */
  acceptLoss(options: CallOptions & { readonly restore: boolean }): Promise<Fields>
  /** Where the scrubber of the node's site stands. */
  scrubStatus(options: CallOptions & { readonly store?: string | undefined }): Promise<Fields>
  /** Has a round begin now. @throws AppError PLACE_NOT_FOUND for an unknown store */
  scrub(options: CallOptions & { readonly store?: string | undefined }): Promise<Fields>
}

export function createMaintenanceClient(call: NodeCall): MaintenanceClient {
  return {
    deleteObject: async (cid, { signal, force }) =>
      fieldsOf(
        await call.json({
          method: 'DELETE',
          path: ['objects', cid],
          query: { force: force || undefined },
          signal,
        }),
      ),
    verifyIndex: async ({ signal, repair }) =>
      fieldsOf(
        await call.json({ method: 'POST', path: ['index', 'verify'], query: { repair: repair || undefined }, signal }),
      ),
    rebuildIndex: async ({ signal }) =>
      fieldsOf(await call.json({ method: 'POST', path: ['index', 'rebuild'], signal })),
    logStatus: async ({ signal }) => fieldsOf(await call.json({ method: 'GET', path: ['log'], signal })),
    acceptLoss: async ({ signal, restore }) =>
      fieldsOf(await call.json({ method: 'POST', path: ['log', 'accept-loss'], query: { restore }, signal })),
    scrubStatus: async ({ signal, store }) =>
      fieldsOf(await call.json({ method: 'GET', path: ['scrub'], query: { store }, signal })),
    scrub: async ({ signal, store }) =>
      fieldsOf(await call.json({ method: 'POST', path: ['scrub'], query: { store }, signal })),
  }
}
