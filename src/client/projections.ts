import type { CallOptions } from './client.ts'
import { jsonBody, type NodeCall } from './node-call.ts'
import { fieldsOf, text } from './reply-fields.ts'

export interface ProjectionReply {
  readonly id: string
  readonly site: string
  /** A name, or a prefix that ends in `/`. */
  readonly name?: string
  readonly cid?: string
}

/** Who shows what where. */
export interface ProjectionsClient {
  list(options: CallOptions): Promise<readonly ProjectionReply[]>
  set(projection: ProjectionReply, options: CallOptions): Promise<ProjectionReply>
  remove(id: string, options: CallOptions): Promise<ProjectionReply>
}

export function createProjectionsClient(call: NodeCall): ProjectionsClient {
  const path = (id: string): readonly string[] => ['projections', id]
  return {
    list: async ({ signal }) => {
      const { projections } = fieldsOf(await call.json({ method: 'GET', path: ['projections'], signal }))
      return Array.isArray(projections) ? projections.map(projectionOf) : []
    },
    set: async ({ id, ...body }, { signal }) =>
      projectionOf(await call.json({ method: 'PUT', path: path(id), ...jsonBody(body), signal })),
    remove: async (id, { signal }) => projectionOf(await call.json({ method: 'DELETE', path: path(id), signal })),
  }
}

function projectionOf(value: unknown): ProjectionReply {
  const fields = fieldsOf(value)
  const { name, cid } = fields
  return {
    id: text(fields, 'id'),
    site: text(fields, 'site'),
    ...(typeof name === 'string' ? { name } : {}),
    ...(typeof cid === 'string' ? { cid } : {}),
  }
}
