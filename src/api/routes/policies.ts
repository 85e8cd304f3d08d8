import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LimitConfig } from '../../config.ts'
import { AppError } from '../../errors.ts'
import { clientGone } from '../../lib/client-gone.ts'
import { policyBytesMax } from '../../placement/policy.ts'
import type { PolicyVersion } from '../../placement/policy-log.ts'
import type { PolicyAt, PolicyOutcome } from '../../placement/policy-verbs.ts'
import type { PlacementVerbs } from '../../placement/surface.ts'
import { expectationOf, orAbsent } from '../conditions.ts'
import { contextOf, tellEvent } from '../context.ts'
import { readJson, readOptionalJson } from '../json-body.ts'
import { allowOnly, queryOf } from '../query.ts'

const stepsDefault = 100
const stepsMax = 10_000

/**
 * `/api/v1/policies/<space>`: what is to lie where. The body is the document itself; If-Match and If-None-Match as for
 * names. Below it: `history`, `undo`, `check` (reads a document, changes nothing), `plan` and `backtest` (what a document, or
 * the policy that holds, would have done).
 */
export function policyRoutes(
  { policy, plan, backtest }: Pick<PlacementVerbs, 'policy' | 'plan' | 'backtest'>,
  limits: Pick<LimitConfig, 'uploadIdleMs'>,
) {
  const checkSpace = (request: FastifyRequest): void => {
    const { space } = request.params as { readonly space: string }
    if (space === policy.space) return
    throw new AppError('POLICY_NOT_FOUND', `this node serves the space ${policy.space}`, {
      hint: `/api/v1/policies/${policy.space}`,
    })
  }
  const optionsOf = (signal: AbortSignal) => ({ ...limits, signal, bytesMax: policyBytesMax })
  return {
    get: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['at'])
      checkSpace(request)
      const version = await policy.get(atOf(query), { signal: clientGone(reply.raw) })
      reply.header('cache-control', 'no-cache').header('etag', etagOf(version))
      return versionJson(policy.space, version)
    },
    history: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      checkSpace(request)
      const versions = await policy.history({ signal: clientGone(reply.raw) })
      reply.header('cache-control', 'no-cache')
      return { space: policy.space, versions: versions.map((version) => versionJson(policy.space, version)) }
    },
    put: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      checkSpace(request)
      const signal = clientGone(reply.raw)
      const context = contextOf(request, reply)
      const document = await readJson(request, reply, optionsOf(signal))
      const expect = await expectationOf(request, () => orAbsent(policy.get(undefined, { signal })))
      const outcome = await policy.set(context, document, expect, { signal })
      return sendOutcome(reply, policy.space, outcome)
    },
    undo: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['revision'])
      checkSpace(request)
      const context = contextOf(request, reply)
      const text = query.get('revision')
      const revision = text === null ? undefined : revisionOf(text)
      const outcome = await policy.undo(context, revision, { signal: clientGone(reply.raw) })
      return sendOutcome(reply, policy.space, outcome)
    },
    check: async (request: FastifyRequest, reply: FastifyReply) => {
      allowOnly(queryOf(request), [])
      checkSpace(request)
      const document = await readJson(request, reply, optionsOf(clientGone(reply.raw)))
      return { ok: true, policy: policy.check(document) }
    },
    plan: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['limit'])
      checkSpace(request)
      const signal = clientGone(reply.raw)
      const stepsMax = stepsOf(query)
      const document = await readOptionalJson(request, reply, optionsOf(signal))
      return await plan(document, { signal, stepsMax })
    },
    backtest: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = queryOf(request)
      allowOnly(query, ['since', 'until'])
      checkSpace(request)
      const signal = clientGone(reply.raw)
      const range = { since: timeOf(query, 'since'), until: query.has('until') ? timeOf(query, 'until') : new Date() }
      const document = await readOptionalJson(request, reply, optionsOf(signal))
      return await backtest(document, range, { signal })
    },
  }
}

const etagOf = ({ revision }: PolicyVersion): string => `"${revision}"`

function versionJson(space: string, { revision, policy, site, owner, time, eventId, undoes }: PolicyVersion) {
  return { space, revision, policy, site, owner, time, eventId, ...(undoes === null ? {} : { undoes }) }
}

function sendOutcome(reply: FastifyReply, space: string, { version, isFirst, repeated }: PolicyOutcome) {
  tellEvent(reply, { id: version.eventId, sequence: version.revision, repeated })
  return reply
    .code(isFirst ? 201 : 200)
    .header('etag', etagOf(version))
    .send(versionJson(space, version))
}

/** `?at=17` or `?at=2026-01-31T12:00:00Z`. @throws AppError REQUEST_INVALID */
function atOf(query: URLSearchParams): PolicyAt {
  const text = query.get('at')
  if (text === null) return undefined
  return /^\d{1,15}$/.test(text) ? { revision: Number(text) } : { time: timeOf(query, 'at') }
}

function revisionOf(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new AppError('REQUEST_INVALID', 'revision is the number of an event')
}

function timeOf(query: URLSearchParams, name: string): Date {
  const text = query.get(name) ?? ''
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? new Date(text) : undefined
  if (time !== undefined && !Number.isNaN(time.getTime())) return time
  throw new AppError('REQUEST_INVALID', `${name} is a time like 2026-01-31T12:00:00Z`)
}

function stepsOf(query: URLSearchParams): number {
  const text = query.get('limit')
  if (text === null) return stepsDefault
  if (/^\d{1,6}$/.test(text) && Number(text) <= stepsMax) return Number(text)
  throw new AppError('REQUEST_INVALID', `limit is 0 to ${stepsMax} steps`)
}
