import type { CallOptions } from './client.ts'
import { contentOf } from './http.ts'
import type { NodeCall } from './node-call.ts'
import { type Fields, fieldsOf } from './reply-fields.ts'

/** Where copies lie, and what is not here. The shapes are for people and may grow. */
export interface PlacementClient {
  summary(options: CallOptions): Promise<Fields>
  /** The same as an SVG. */
  picture(options: CallOptions): Promise<string>
  /** What other sites have that the node's site has not; with `fetch`, the copies that are wanted there are made. */
  missing(options: CallOptions & { readonly peer: string | undefined; readonly fetch: boolean }): Promise<Fields>
}

export function createPlacementClient(call: NodeCall): PlacementClient {
  return {
    summary: async ({ signal }) => fieldsOf(await call.json({ method: 'GET', path: ['placement'], signal })),
    picture: async ({ signal }) => {
      const { response, request } = await call.open({ method: 'GET', path: ['placement.svg'], signal })
      const parts: Uint8Array[] = []
      for await (const part of contentOf(response, request)) parts.push(part)
      return Buffer.concat(parts).toString('utf8')
    },
    missing: async ({ signal, peer, fetch }) =>
      fieldsOf(await call.json({ method: fetch ? 'POST' : 'GET', path: ['missing'], query: { peer }, signal })),
  }
}
