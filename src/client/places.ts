import type { CallOptions } from './client.ts'
import { jsonBody, type NodeCall } from './node-call.ts'
import { type Query, segmentsOf } from './node-url.ts'
import { type Fields, fieldsOf } from './reply-fields.ts'

/** Sites and stores, and why content lies where it does. The shapes are the API's own; see docs/placement.md. */
export interface PlacesClient {
  sites(options: CallOptions): Promise<readonly Fields[]>
  stores(options: CallOptions): Promise<readonly Fields[]>
  /** At the site of the node. @returns the store */
  addStore(store: string, options: CallOptions & { readonly shards?: number | undefined }): Promise<readonly Fields[]>
  drainStore(store: string, options: CallOptions & { readonly site?: string | undefined }): Promise<readonly Fields[]>
  /** @throws AppError PLACE_IN_USE */
  removeStore(store: string, options: CallOptions): Promise<readonly Fields[]>
  /** @returns the new store and the old one */
  reshardStore(
    store: string,
    options: CallOptions & { readonly shards: number; readonly to?: string | undefined },
  ): Promise<readonly Fields[]>
  /** It left for good. @throws AppError PLACE_IN_USE while it is heard, or holds what lies nowhere else */
  removeSite(site: string, options: CallOptions & { readonly force: boolean }): Promise<Fields>
  /** @param reference a CID or a name */
  why(reference: string, options: CallOptions): Promise<Fields>
}

export function createPlacesClient(call: NodeCall): PlacesClient {
  const list = async (path: 'sites' | 'stores', signal: AbortSignal) =>
    listIn(await call.json({ method: 'GET', path: [path], signal }), path)
  const post = (path: readonly string[], signal: AbortSignal, value?: object, query: Query = {}) =>
    call.json({ method: 'POST', path, query, signal, ...(value === undefined ? {} : jsonBody(value)) })
  return {
    sites: ({ signal }) => list('sites', signal),
    stores: ({ signal }) => list('stores', signal),
    addStore: async (store, { shards, signal }) =>
      listIn(await post(['stores'], signal, { store, ...(shards === undefined ? {} : { shards }) }), 'stores'),
    drainStore: async (store, { site, signal }) =>
      listIn(await post(['stores', store, 'drain'], signal, undefined, { site }), 'stores'),
    removeStore: async (store, { signal }) =>
      listIn(await call.json({ method: 'DELETE', path: ['stores', store], signal }), 'stores'),
    reshardStore: async (store, { shards, to, signal }) => {
      const change = { shards, ...(to === undefined ? {} : { to }) }
      return listIn(await post(['stores', store, 'reshard'], signal, change), 'stores')
    },
    removeSite: async (site, { force, signal }) => {
      const query = { force: force || undefined }
      return fieldsOf(await post(['sites', site, 'remove'], signal, undefined, query))
    },
    why: async (reference, { signal }) =>
      fieldsOf(await call.json({ method: 'GET', path: ['why', ...segmentsOf(reference)], signal })),
  }
}

function listIn(value: unknown, name: string): Fields[] {
  const list = fieldsOf(value)[name]
  return Array.isArray(list) ? list.map(fieldsOf) : []
}
