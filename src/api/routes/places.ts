import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LimitConfig } from '../../config.ts'
import { eventIdOf } from '../../content/command-id.ts'
import { AppError } from '../../errors.ts'
import { clientGone } from '../../lib/client-gone.ts'
import type { PlaceOutcome } from '../../placement/store-verbs.ts'
import type { PlacementVerbs } from '../../placement/surface.ts'
import { contextOf, tellEvent } from '../context.ts'
import { type JsonObject, onlyFields, readJson, textField } from '../json-body.ts'
import { allowOnly, flagOf, queryOf } from '../query.ts'

/**
 * `/api/v1/sites` and `/api/v1/stores`. A store is made, re-sharded and removed by a node of its site; drained by any, with
 * `?site=`.
 */
export function placeRoutes(
  { places, sites, stores }: Pick<PlacementVerbs, 'places' | 'sites' | 'stores'>,
  limits: Pick<LimitConfig, 'uploadIdleMs'>,
  here: string,
) {
  return {
    sites: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      reply.header('cache-control', 'no-cache')
      return { sites: sites() }
    },
    stores: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      reply.header('cache-control', 'no-cache')
      return { stores: stores() }
    },
    add: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      const signal = clientGone(reply.raw)
      const context = contextOf(request, reply)
      const body = await readJson(request, reply, { ...limits, signal })
      onlyFields(body, ['store', 'shards'], 'a store')
      const store = textField(body, 'store', 'a store')
      const outcome = await places.addStore(context, store, shardsIn(body), { signal })
      reply.code(outcome.repeated ? 200 : 201).header('location', `/api/v1/stores/${store}`)
      return sendStores(reply, eventIdOf(context), outcome)
    },
    drain: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['site'])
      const at = { site: query.get('site') ?? here, store: param(request, 'store') }
      const context = contextOf(request, reply)
      return sendStores(
        reply,
        eventIdOf(context),
        await places.drainStore(context, at, { signal: clientGone(reply.raw) }),
      )
    },
    reshard: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      const signal = clientGone(reply.raw)
      const context = contextOf(request, reply)
      const body = await readJson(request, reply, { ...limits, signal })
      onlyFields(body, ['shards', 'to'], 're-sharding')
      const shards = shardsIn(body)
      if (shards === undefined) throw new AppError('REQUEST_INVALID', 're-sharding needs shards, a number')
      const to = body.to === undefined ? undefined : textField(body, 'to', 're-sharding')
      const change = { store: param(request, 'store'), to, shards }
      return sendStores(reply, eventIdOf(context), await places.reshardStore(context, change, { signal }))
    },
    removeStore: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      const context = contextOf(request, reply)
      const signal = clientGone(reply.raw)
      return sendStores(
        reply,
        eventIdOf(context),
        await places.removeStore(context, param(request, 'store'), { signal }),
      )
    },
    removeSite: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['force'])
      const context = contextOf(request, reply)
      const options = { force: flagOf(query, 'force'), signal: clientGone(reply.raw) }
      const { site, rootsOnlyThere, sequence, repeated } = await places.removeSite(
        context,
        param(request, 'site'),
        options,
      )
      tellEvent(reply, { id: eventIdOf(context), sequence, repeated })
      return { site, removed: true, rootsOnlyThere }
    },
  }
}

function sendStores(reply: FastifyReply, id: string, { stores, sequence, repeated }: PlaceOutcome) {
  tellEvent(reply, { id, sequence, repeated })
  return { stores }
}

const param = (request: FastifyRequest, name: string): string =>
  (request.params as Readonly<Record<string, string>>)[name] ?? ''

function shardsIn({ shards }: JsonObject): number | undefined {
  if (shards === undefined || (typeof shards === 'number' && Number.isInteger(shards))) return shards
  throw new AppError('REQUEST_INVALID', 'shards is a whole number')
}
