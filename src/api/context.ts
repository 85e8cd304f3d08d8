import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type Auth, anonymous, idScopeOf, ownerFor, type Principal } from '../auth/principal.ts'
import type { Context, ReadContext } from '../content/verbs.ts'
import { AppError } from '../errors.ts'
import { clientGone } from '../lib/client-gone.ts'
import { correlationOf, traceparentOf } from '../lib/message-ids.ts'
import { isUuid, uuidv7 } from '../lib/uuid.ts'

const ownerLengthMax = 256
const principals = new WeakMap<FastifyRequest, Principal>()

/** The hook of every route that needs the token. @throws AppError UNAUTHORIZED; Error when the client has left meanwhile */
export function needsToken(auth: Auth) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const gone = clientGone(reply.raw)
    principals.set(request, await auth.authenticate(request.headers.authorization))
    gone.throwIfAborted()
  }
}

/**
 * Who acts, and in what undertaking, as the headers say:
 *
 *   Stowage-Command-Id      UUID; the idempotency key (`Idempotency-Key` means the same); made up where absent
 *   Stowage-Correlation-Id  groups messages of one undertaking; the command's id where absent
 *   Stowage-Causation-Id    the message that caused this one
 *   Stowage-Owner           whom it belongs to; the principal where absent. Only an admin may name another
 *   traceparent             W3C; a broken one is left out
 *
 * The reply tells the correlation, whatever becomes of the command.
 * @throws AppError REQUEST_INVALID | FORBIDDEN (an owner that the principal may not name)
 */
export function contextOf(request: FastifyRequest, reply: FastifyReply): Context {
  const { headers } = request
  const principal = principals.get(request) ?? anonymous
  const given = commandId(request)
  const id = given ?? uuidv7()
  const correlation = idHeader(request, 'stowage-correlation-id') ?? id
  reply.header('stowage-correlation-id', correlation)
  return {
    id,
    ...(given === undefined ? { fresh: true } : { idScope: idScopeOf(principal) }),
    correlation,
    causation: idHeader(request, 'stowage-causation-id'),
    owner: ownerFor(principal, ownerOf(headers['stowage-owner'])),
    principal: principal.name,
    via: 'http',
    traceparent: traceparentOf(headers.traceparent),
  }
}

/**
 * The hook of routes that change something and remember no command: who sends an id counts on the same answer for the same id, and
 * would not get it. @throws AppError REQUEST_INVALID
 */
export async function takesNoCommandId(request: FastifyRequest): Promise<void> {
  if (commandId(request) === undefined) return
  throw new AppError(
    'REQUEST_INVALID',
    'this takes no id of a command: what it does leaves no outcome that could be told again',
    {
      hint: 'leave out Stowage-Command-Id (Idempotency-Key); it may be asked again without harm',
    },
  )
}

/** Of a read: what is broken is left out, nothing is refused for it. */
export function readContextOf({ headers }: FastifyRequest): ReadContext {
  return {
    principal: 'anonymous',
    via: 'http',
    correlation: correlationOf(headers['stowage-correlation-id']),
    traceparent: traceparentOf(headers.traceparent),
  }
}

/** Where the act can be found in the log. */
export function tellEvent(
  reply: FastifyReply,
  event: { readonly id: string; readonly sequence: number | undefined; readonly repeated: boolean },
): FastifyReply {
  reply.header('stowage-event-id', event.id)
  if (event.sequence !== undefined) reply.header('stowage-sequence', String(event.sequence))
  if (event.repeated) reply.header('stowage-repeated', 'true')
  return reply
}

function commandId({ headers }: FastifyRequest): string | undefined {
  const given = new Set<string>()
  for (const name of ['stowage-command-id', 'idempotency-key']) {
    const text = headers[name]
    if (text === undefined) continue
    // The draft of Idempotency-Key has it in quotes.
    const id = String(text).replace(/^"(.*)"$/, '$1')
    if (!isUuid(id)) throw new AppError('REQUEST_INVALID', `the ${name} header is no UUID`)
    given.add(id.toLowerCase())
  }
  if (given.size > 1) throw new AppError('REQUEST_INVALID', 'stowage-command-id and idempotency-key differ')
  return [...given][0]
}

function idHeader({ headers }: FastifyRequest, name: string): string | undefined {
  const text = headers[name]
  if (text === undefined) return undefined
  const id = correlationOf(text)
  if (id !== undefined) return id
  throw new AppError('REQUEST_INVALID', `the ${name} header is no id`, {
    hint: '1 to 128 letters, digits or . _ : / @ + = -',
  })
}

function ownerOf(text: string | readonly string[] | undefined): string | undefined {
  if (text === undefined) return undefined
  // Node reads headers as Latin-1; what people send is UTF-8.
  const owner = Buffer.from(String(text), 'latin1').toString('utf8')
  if (owner.length > 0 && owner.length <= ownerLengthMax && !/[\p{Cc}\ufffd]/u.test(owner)) return owner
  throw new AppError('REQUEST_INVALID', `the stowage-owner header is not 1 to ${ownerLengthMax} characters of UTF-8`)
}

/** Those who look whether the node is well have no token. */
const openPaths: ReadonlySet<string | undefined> = new Set(['/healthz', '/readyz'])

/** Has every read checked for a token, apart from whether the node is well. */
export function readsNeedToken(app: FastifyInstance, auth: Auth): void {
  const check = needsToken(auth)
  app.addHook('onRequest', async (request, reply) => {
    const isRead = request.method === 'GET' || request.method === 'HEAD'
    if (isRead && !openPaths.has(request.routeOptions.url)) await check(request, reply)
  })
}
