import { type Auth, anonymous, idScopeOf, ownerFor, type Principal } from '../auth/principal.ts'
import type { Context } from '../content/verbs.ts'
import { AppError } from '../errors.ts'
import { correlationOf, traceparentOf } from '../lib/message-ids.ts'
import { uuidv7 } from '../lib/uuid.ts'
import { header } from './protocol.ts'
import { argument, type Kind, type Request } from './request.ts'

/** Who may send commands over NATS: whoever the NATS server lets publish, or whoever shows the admin token. */
export type CommandAccess = 'open' | 'token'

export interface ContextParts {
  readonly auth: Auth
  readonly commandAccess: CommandAccess
}

const ownerLengthMax = 256

/**
 * Who acts, and in what undertaking: what the message says, stamped where it says nothing.
 * @param fallbackId of a message that names none, so that a stored one keeps its id when it is delivered again
 * @throws AppError UNAUTHORIZED | FORBIDDEN (an owner that the principal may not name) | REQUEST_INVALID
 */
export async function contextOf(
  request: Request,
  kind: Kind,
  { auth, commandAccess }: ContextParts,
  fallbackId: () => string = uuidv7,
): Promise<Context> {
  const principal = kind === 'command' ? await principalOf(request, auth, commandAccess) : anonymous
  const { envelope, headers } = request
  const value = (name: 'id' | 'correlation' | 'causation' | 'owner' | 'traceparent') =>
    headers.get(header[name].toLowerCase()) ?? envelope?.[name] ?? fieldOf(request, name)
  const id = checkId('id', value('id') ?? headers.get('nats-msg-id'))
  const known = id ?? fallbackId()
  return {
    id: known,
    // An id of our own making is nobody's to take.
    ...(id === undefined ? (fallbackId === uuidv7 ? { fresh: true } : {}) : { idScope: idScopeOf(principal) }),
    correlation: checkId('correlation', value('correlation')) ?? known,
    causation: checkId('causation', value('causation')),
    owner: ownerFor(principal, checkOwner(value('owner'))),
    principal: principal.name,
    via: 'nats',
    traceparent: traceparentOf(value('traceparent')),
  }
}

/** Whoever shows a token is taken at its word, also where none is needed. */
async function principalOf(request: Request, auth: Auth, access: CommandAccess): Promise<Principal> {
  const token = request.headers.get(header.token.toLowerCase())
  if (token === undefined && access === 'open') return anonymous
  try {
    return await auth.authenticate(token === undefined ? undefined : `Bearer ${token}`)
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'UNAUTHORIZED') throw error
    throw new AppError('UNAUTHORIZED', 'this needs the admin token', {
      cause: error,
      hint: `send it in the header ${header.token}; STOWAGE_NATS_COMMANDS=open leaves it to the NATS server who may`,
    })
  }
}

const fieldOf = (request: Request, name: string): string | undefined =>
  request.fields[name] === undefined ? undefined : argument(request, name)

function checkId(name: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const id = correlationOf(text)
  if (id !== undefined) return id
  throw new AppError('REQUEST_INVALID', `the message's ${name} is no id`, {
    hint: '1 to 128 letters, digits or . _ : / @ + = -',
  })
}

function checkOwner(text: string | undefined): string | undefined {
  const isText = text === undefined || (text.length > 0 && text.length <= ownerLengthMax && text.isWellFormed())
  if (isText && !/\p{Cc}/u.test(text ?? '')) return text
  throw new AppError('REQUEST_INVALID', `the message's owner is not 1 to ${ownerLengthMax} characters of text`)
}
