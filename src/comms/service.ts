import type { CommsConfig, LayoutConfig, LimitConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import type { Incoming, Messaging } from '../nats/messaging.ts'
import { type Endpoint, type MicroService, startMicroService } from '../nats/micro-service.ts'
import type { Unanswered } from '../observability/unanswered.ts'
import { missingAskOf, missingSubject } from '../placement/missing-messages.ts'
import type { PeerAnswers } from '../placement/peer-answers.ts'
import { Admission } from './admission.ts'
import { type CommandHandler, type CommandParts, commandHandlers } from './commands.ts'
import { type ContextParts, contextOf } from './context.ts'
import { answerGet, type GetParts } from './get.ts'
import {
  byToken,
  type Command,
  commandSubject,
  commands,
  header,
  type PeerQuery,
  type Query,
  queries,
  querySubject,
} from './protocol.ts'
import { type QueryHandler, type QueryParts, queryHandlers } from './queries.ts'
import { errorReply, type Failure, failureOf, headRoomBytes, jsonReply, type Requester, requesterOf } from './reply.ts'
import { type Kind, type Request, readRequest, type Verb } from './request.ts'
import { openTransfers } from './transfers.ts'
import { receiveUpload } from './upload-request.ts'

export interface ServiceParts
  extends Omit<QueryParts, 'verbs' | 'propagation'>,
    Pick<CommandParts, 'verbs' | 'propagation' | 'projections'>,
    Omit<ContextParts, 'commandAccess'>,
    Pick<GetParts, 'reads' | 'gatewayUrl'> {
  readonly messaging: Messaging
  readonly limits: LimitConfig
  readonly version: string
  /** Told of what nobody else is told of. */
  readonly unanswered?: Pick<Unanswered, 'done' | 'failed' | 'query'> | undefined
  /** What this site tells other sites. Undefined: nothing. */
  readonly peerAnswers?: Pick<PeerAnswers, 'answer'> | undefined
}

export interface ServiceConfig {
  readonly comms: CommsConfig
  readonly layout: LayoutConfig
}

export interface RunningService {
  readonly id: string
  /** By the queue too. */
  readonly commands: Readonly<Record<Command, CommandHandler>>
  /** Takes no more requests; those under way may finish until the signal given at the start aborts. */
  stop(): Promise<void>
}

/** Longest part of a transfer: small enough not to hold up what else the connection carries. */
const partBytesMax = 256 * 1024

type Handle = (request: Request, requester: Requester, message: Incoming) => Promise<Failure | undefined>

/** Queries and commands as one ADR-32 service. */
export async function startService(
  parts: ServiceParts,
  { comms, layout }: ServiceConfig,
  signal: AbortSignal,
): Promise<RunningService> {
  const { messaging, limits } = parts
  const { domain, space, site } = layout
  const subjects = { domain, space }
  const room = messaging.payloadBytesMax - headRoomBytes
  const flow = { flightBytesMax: comms.flightBytesMax, partBytesMax: Math.min(partBytesMax, room) }
  const transfers = openTransfers(messaging, subjects, comms.transfersMax)
  const contextParts = { auth: parts.auth, commandAccess: comms.commandAccess }
  const queryTable = queryHandlers(parts)
  const commandTable = commandHandlers(parts)
  const getParts: GetParts = {
    ...parts,
    transfers,
    download: { ...flow, idleMs: limits.sendIdleMs },
    inlineBytesMax: Math.min(comms.inlineBytesMax, room),
  }
  const query = (name: Query): Handle => {
    if (name !== 'get') return simple(queryTable[name])
    return async (request, requester) =>
      answerGet(getParts, request, await contextOf(request, 'query', contextParts), requester, signal)
  }
  const simple =
    (handler: QueryHandler): Handle =>
    async (request, requester) => {
      requester.send(await handler(request, await contextOf(request, 'query', contextParts), signal))
      return undefined
    }
  const command =
    (name: Command): Handle =>
    async (request, requester) => {
      const context = await contextOf(request, 'command', contextParts)
      const call = { request, context, signal, answered: requester.listens }
      if (request.headers.has(header.upload.toLowerCase())) {
        const upload = { ...flow, idleMs: limits.uploadIdleMs }
        return receiveUpload(call, commandTable[name], name, requester, {
          messaging,
          domain,
          transfers,
          limits: upload,
        })
      }
      requester.send(await commandTable[name]({ ...call, content: once(request.body) }))
      return undefined
    }
  const admission = new Admission(comms)
  const answering = (verb: Verb, kind: Kind, handle: Handle) => async (message: Incoming) => {
    const options = { messaging, domain, admission, verb, kind, handle }
    const failure = await answer(message, options)
    if (!requesterOf(messaging, domain, message.reply).listens) tellUnanswered(parts.unanswered, options, failure)
    return failure
  }
  const micro: MicroService = await startMicroService(
    messaging,
    {
      name: domain,
      version: parts.version,
      description: 'Stowage: content, names and events',
      metadata: { space, site },
    },
    [
      ...queries.map((name) =>
        endpoint(name, querySubject(subjects, name), 'query', answering(name, 'query', query(name))),
      ),
      ...byToken.map((name) =>
        endpoint(`${name}-cid`, `${querySubject(subjects, name)}.*`, 'query', answering(name, 'query', query(name))),
      ),
      ...commands.map((name) =>
        endpoint(name, commandSubject(subjects, name), 'command', answering(name, 'command', command(name))),
      ),
      ...peerEndpoints(parts.peerAnswers, { ...subjects, site }, answering, signal),
    ],
  )
  return {
    id: micro.id,
    commands: commandTable,
    stop: async () => {
      await micro.stop()
      transfers.stop()
    },
  }
}

const endpoint = (name: string, subject: string, kind: Kind, handle: Endpoint['handle']): Endpoint => ({
  name,
  subject,
  metadata: { kind },
  handle,
})

/** One node of each site answers: the queue group is the site's own. */
function peerEndpoints(
  peerAnswers: ServiceParts['peerAnswers'],
  { domain, space, site }: Pick<LayoutConfig, 'domain' | 'space' | 'site'>,
  answering: (verb: PeerQuery, kind: Kind, handle: Handle) => Endpoint['handle'],
  signal: AbortSignal,
): Endpoint[] {
  if (peerAnswers === undefined) return []
  const handle = answering('missing', 'query', async ({ fields }, requester) => {
    requester.send(jsonReply(await peerAnswers.answer(missingAskOf(fields), signal)))
    return undefined
  })
  const shared = { queue: `site-${site}` }
  return [
    { ...endpoint('missing', missingSubject({ domain, space }), 'query', handle), ...shared },
    { ...endpoint('missing-site', missingSubject({ domain, space }, site), 'query', handle), ...shared },
  ]
}

interface Answering {
  readonly messaging: Messaging
  readonly domain: string
  readonly admission: Admission
  readonly verb: Verb
  readonly kind: Kind
  readonly handle: Handle
}

function tellUnanswered(
  unanswered: ServiceParts['unanswered'],
  { verb, kind }: Pick<Answering, 'verb' | 'kind'>,
  failure: Failure | undefined,
): void {
  if (failure === undefined) unanswered?.done()
  else unanswered?.[kind === 'query' ? 'query' : 'failed']({ verb, code: failure.code, reason: failure.message })
}

/**
 * Every message ends here, whatever it holds: with an answer, or with nothing where none is expected. A command without a
 * reply subject is carried out all the same; one that names a subject where no answer may be sent is not.
 */
async function answer(message: Incoming, options: Answering): Promise<Failure | undefined> {
  const { messaging, domain, admission, verb, kind, handle } = options
  const requester = requesterOf(messaging, domain, message.reply)
  // Nobody is told: the only place to do so is the one that must not be written to.
  if (message.reply !== undefined && !requester.listens)
    return { code: 400, message: 'the reply subject is not allowed' }
  if (kind === 'query' && !requester.listens) return { code: 400, message: 'a query without a reply subject' }
  const bytes = message.data.byteLength
  try {
    admission.enter(bytes)
  } catch (error) {
    return refuse(requester, error)
  }
  try {
    return await handle(withToken(readRequest(message, verb, kind), message, options), requester, message)
  } catch (error) {
    return refuse(requester, error)
  } finally {
    admission.leave(bytes)
  }
}

function refuse(requester: Requester, error: unknown): Failure {
  try {
    requester.send(errorReply(error))
  } catch (cause) {
    // The connection is closed: whoever asked will ask another node.
    return { code: 503, message: `no answer could be sent: ${String(cause)}` }
  }
  return failureOf(error)
}

/** `…qry.<space>.get.<cid>`: the last token is what the request is about. */
function withToken(request: Request, { subject }: Incoming, { verb, domain }: Answering): Request {
  const tokens = subject.slice(domain.length + 1).split('.')
  const token = tokens[3]
  if (token === undefined || verb === 'missing') return request
  if (Object.keys(request.fields).some((name) => ['ref', 'cid', 'name', 'prefix'].includes(name))) {
    throw new AppError('REQUEST_INVALID', `${verb}: the content is named by the subject and by the body`)
  }
  return { ...request, fields: { ...request.fields, cid: token }, body: new Uint8Array() }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  // A copy: the receive buffer is shared with other messages.
  if (bytes.byteLength > 0) yield Uint8Array.from(bytes)
}
