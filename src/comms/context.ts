import type { Auth } from '../auth/principal.ts'
import type { Context } from '../content/verbs.ts'
import { AppError } from '../errors.ts'
import { uuidv7 } from '../lib/uuid.ts'
import { header } from './protocol.ts'
import { argument, type Kind, type Request } from './request.ts'

/** Who may send commands over NATS: whoever the NATS server lets publish, or whoever shows the admin token. */
export type CommandAccess = 'open' | 'token'

export interface ContextParts {
  readonly auth: Auth
  readonly commandAccess: CommandAccess
}

/** The principal where the NATS server alone decides who may publish. */
export const natsPrincipal = 'nats'

const idPattern = /^[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,127}$/
const textLengthMax = 256

/**
 * Who acts, and in what undertaking: what the message says, stamped where it says nothing.
 * @param fallbackId of a message that names none, so that a stored one keeps its id when it is delivered again
 * @throws AppError UNAUTHORIZED | REQUEST_INVALID
 */
export async function contextOf(
  request: Request,
  kind: Kind,
  { auth, commandAccess }: ContextParts,
  fallbackId: () => string = uuidv7,
): Promise<Context> {
  const principal = kind === 'command' && commandAccess === 'token' ? await authenticated(request, auth) : natsPrincipal
  const { envelope, headers } = request
  const value = (name: 'correlation' | 'causation' | 'owner') =>
    checkText(name, fieldOf(request, name) ?? headers.get(header[name].toLowerCase()) ?? envelope?.[name])
  const id = checkId(
    'id',
    headers.get(header.id.toLowerCase()) ?? envelope?.id ?? fieldOf(request, 'id') ?? headers.get('nats-msg-id'),
  )
  const known = id ?? fallbackId()
  const traceparent = fieldOf(request, 'traceparent') ?? headers.get(header.traceparent) ?? envelope?.traceparent
  return {
    id: known,
    correlation: value('correlation') ?? known,
    causation: value('causation'),
    owner: value('owner') ?? principal,
    principal,
    via: 'nats',
    // A broken one is dropped, as W3C has it: tracing must not fail a request.
    traceparent: /^[0-9a-f]{2}(-[0-9a-f]+){2}-[0-9a-f]{2}/.test(traceparent ?? '') ? traceparent : undefined,
  }
}

async function authenticated(request: Request, auth: Auth): Promise<string> {
  const token = request.headers.get(header.token.toLowerCase())
  try {
    return (await auth.authenticate(token === undefined ? undefined : `Bearer ${token}`)).name
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
  if (text === undefined || idPattern.test(text)) return text
  throw new AppError('REQUEST_INVALID', `the message's ${name} is not one we can keep`, {
    hint: '1 to 128 letters, digits or . _ : / @ + = -',
  })
}

function checkText(name: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  if (text.length > 0 && text.length <= textLengthMax && !/\p{Cc}/u.test(text) && text.isWellFormed()) return text
  throw new AppError('REQUEST_INVALID', `the message's ${name} is not 1 to ${textLengthMax} characters of text`)
}
