import type { FastifyReply, FastifyRequest } from 'fastify'
import { clientGone } from '../../lib/client-gone.ts'
import type { ProjectionRecord } from '../../placement/model.ts'
import type { ProjectionOutcome, ProjectionVerbs } from '../../placement/projections.ts'
import { contextOf, tellEvent } from '../context.ts'
import { onlyFields, readJson, textField } from '../json-body.ts'
import { allowOnly, queryOf } from '../query.ts'

export const projectionPrefix = '/api/v1/projections'

type Limits = Omit<Parameters<typeof readJson>[2], 'signal'>

/** `/api/v1/projections/<id>`: who shows what where, `{site, name}` or `{site, cid}`; the content comes there unasked. */
export function projectionRoutes(projections: ProjectionVerbs, limits: Limits) {
  const idOf = (request: FastifyRequest) => (request.params as { readonly id: string }).id
  return {
    list: async (request: FastifyRequest) => {
      allowOnly(queryOf(request), [])
      return { projections: projections.list().map(projectionJson) }
    },
    get: async (request: FastifyRequest) => {
      allowOnly(queryOf(request), [])
      return projectionJson(projections.get(idOf(request)))
    },
    put: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      const signal = clientGone(reply.raw)
      const context = contextOf(request, reply)
      const body = await readJson(request, reply, { ...limits, signal })
      onlyFields(body, ['site', 'name', 'cid'], 'a projection')
      const text = (field: string) => (body[field] === undefined ? undefined : textField(body, field, 'a projection'))
      const asked = { site: textField(body, 'site', 'a projection'), name: text('name'), cid: text('cid') }
      const outcome = await projections.set(context, idOf(request), asked, { signal })
      return sendOutcome(reply, outcome)
    },
    remove: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      const context = contextOf(request, reply)
      const outcome = await projections.remove(context, idOf(request), { signal: clientGone(reply.raw) })
      return { ...sendOutcome(reply, outcome), removed: true }
    },
  }
}

function sendOutcome(reply: FastifyReply, { projection, eventId, sequence, repeated }: ProjectionOutcome) {
  tellEvent(reply, { id: eventId, sequence, repeated })
  return projectionJson(projection)
}

const projectionJson = ({ id, site, subject }: ProjectionRecord) => ({ id, site, ...subject })
