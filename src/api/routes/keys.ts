import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LimitConfig } from '../../config.ts'
import { eventIdOf } from '../../content/command-id.ts'
import type { IpnsKeys } from '../../content/ipns-keys.ts'
import type { IpnsPublisher } from '../../content/ipns-publish.ts'
import { AppError } from '../../errors.ts'
import { clientGone } from '../../lib/client-gone.ts'
import { contextOf, tellEvent } from '../context.ts'
import { type JsonObject, onlyFields, readJson, textField } from '../json-body.ts'
import { allowOnly, queryOf } from '../query.ts'
import { pathBelow } from '../request-path.ts'

export const keyPrefix = '/api/v1/keys/'

const day = 24 * 3600
const lifetimeSecondsDefault = 2 * day
const ttlSecondsDefault = 300

type Limits = Pick<LimitConfig, 'uploadIdleMs'>

/** `/api/v1/keys`: keys that sign IPNS records. All of it needs the token, looking too. */
export function keyRoutes(keys: IpnsKeys, limits: Limits) {
  return {
    list: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      return { keys: await keys.list({ signal: clientGone(reply.raw) }) }
    },

    /** `{"label"}` makes one, `{"label", "pem"}` takes one. */
    create: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      const signal = clientGone(reply.raw)
      const context = contextOf(request, reply)
      const body = await readJson(request, reply, { ...limits, signal })
      onlyFields(body, ['label', 'pem'], 'a key')
      const label = textField(body, 'label', 'a key')
      const options = { context, signal }
      const { repeated, ...made } =
        body.pem === undefined
          ? await keys.generate(label, options)
          : await keys.import(label, textField(body, 'pem', 'a key'), options)
      if (repeated) reply.header('stowage-repeated', 'true')
      return reply.code(201).send(made)
    },

    /** The private key, in clear. */
    export: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      reply.header('cache-control', 'no-store')
      return { pem: await keys.export(labelOf(request), { signal: clientGone(reply.raw) }) }
    },

    remove: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      const label = labelOf(request)
      await keys.remove(label, { signal: clientGone(reply.raw) })
      return { label, removed: true }
    },
  }
}

/** `POST /api/v1/ipns` `{"publish": {"name", "key", "lifetimeSeconds"?, "ttlSeconds"?}}` */
export function publishHandler(publisher: Pick<IpnsPublisher, 'publish'>, limits: Limits) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    allowOnly(queryOf(request), [])
    const signal = clientGone(reply.raw)
    const context = contextOf(request, reply)
    const body = await readJson(request, reply, { ...limits, signal })
    onlyFields(body, ['publish'], 'a change below /ipns/')
    const asked = body.publish as JsonObject | null | undefined
    if (typeof asked !== 'object' || asked === null) throw new AppError('REQUEST_INVALID', 'publish is an object')
    onlyFields(asked, ['name', 'key', 'lifetimeSeconds', 'ttlSeconds'], 'publish')
    const outcome = await publisher.publish(context, textField(asked, 'name', 'publish'), {
      key: textField(asked, 'key', 'publish'),
      lifetimeSeconds: secondsOf(asked, 'lifetimeSeconds', lifetimeSecondsDefault),
      ttlSeconds: secondsOf(asked, 'ttlSeconds', ttlSecondsDefault),
      signal,
    })
    tellEvent(reply, { id: eventIdOf(context), sequence: outcome.sequence, repeated: outcome.repeated })
    return outcome.entry
  }
}

function secondsOf(value: JsonObject, field: string, absent: number): number {
  const seconds = value[field] ?? absent
  if (typeof seconds === 'number' && Number.isInteger(seconds)) return seconds
  throw new AppError('REQUEST_INVALID', `${field} is a whole number of seconds`)
}

function labelOf(request: FastifyRequest): string {
  return pathBelow(request, keyPrefix).replace(/\/export$/, '')
}
