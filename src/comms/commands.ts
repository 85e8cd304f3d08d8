import type { CID } from 'multiformats/cid'
import type { Get } from '../content/get.ts'
import { ackLevelOf, type Propagation, propagationFields, propagationHeaders } from '../content/propagation.ts'
import { type Profile, partialFields, profiles } from '../content/put.ts'
import type { Context, NameChange, NameExpectation, NameOutcome, PutOutcome, Verbs } from '../content/verbs.ts'
import { AppError } from '../errors.ts'
import { isRecord } from '../lib/json.ts'
import type { Outgoing } from '../nats/messaging.ts'
import type { ProjectionOutcome, ProjectionVerbs } from '../placement/projections.ts'
import { checkedContent } from './checked-content.ts'
import { type Command, envelopeType, header } from './protocol.ts'
import { type NameVerbs, type ReferenceLimits, referenceOf, resolve } from './reference.ts'
import { jsonReply } from './reply.ts'
import { argument, countArgument, flagArgument, plainText, type Request } from './request.ts'

export interface CommandParts {
  readonly verbs: Verbs & NameVerbs
  readonly get: Pick<Get, 'open'>
  readonly limits: ReferenceLimits
  /** Undefined: no put waits for copies. */
  readonly propagation?: Propagation | undefined
  /** Undefined: this node does not watch over copies. */
  readonly projections?: ProjectionVerbs | undefined
}

/** What a command is carried out with, whether it came as a request, in parts, or out of the queue. */
export interface CommandCall {
  readonly request: Request
  readonly context: Context
  /** The content of a put or import. */
  readonly content: AsyncIterable<Uint8Array>
  /** Somebody waits for the answer: not so for what comes out of the queue. */
  readonly answered?: boolean
  readonly signal: AbortSignal
}

export type CommandHandler = (call: CommandCall) => Promise<Outgoing>

export function commandHandlers(parts: CommandParts): Readonly<Record<Command, CommandHandler>> {
  const { verbs } = parts
  return {
    put: (call) => put(parts, call),
    import: async (call) => {
      const { request, context, signal } = call
      const upload = { kind: 'car', partial: flagArgument(request, 'partial'), ...checkedContent(call) } as const
      return putReply(parts, call, await verbs.put(context, upload, { signal }))
    },
    name: async ({ request, context, signal }) =>
      nameReply(await verbs.changeNames(context, await changesOf(parts, request, signal), { signal })),
    unname: async ({ request, context, signal }) => {
      const change = { kind: 'remove', name: nameOf(request, 'name'), expect: expectationOf(request) } as const
      return nameReply(await verbs.changeNames(context, [change], { signal }))
    },
    rename: async ({ request, context, signal }) => {
      const to = argument(request, 'to')
      if (to === undefined) throw new AppError('REQUEST_INVALID', 'the request has no "to"')
      const change = {
        from: nameOf(request, 'from'),
        to,
        expect: expectationOf(request),
        replace: flagArgument(request, 'replace'),
      }
      return nameReply(await verbs.renameName(context, change, { signal }))
    },
    undo: async ({ request, context, signal }) => {
      const revision = countArgument(request, 'revision', { min: 1, max: Number.MAX_SAFE_INTEGER })
      return nameReply(await verbs.undoName(context, nameOf(request, 'name'), revision, { signal }))
    },
    delete: async ({ request, context, signal }) => {
      const cid = await rootOf(parts, plainText(request) ?? argument(request, 'cid'), request, signal)
      const outcome = await verbs.deleteObject(context, cid, { signal, force: flagArgument(request, 'force') })
      return jsonReply(outcome, outcomeHeaders(outcome))
    },
    project: async ({ request, context, signal }) => {
      const site = argument(request, 'site')
      if (site === undefined) throw new AppError('REQUEST_INVALID', 'the request has no site')
      const asked = { site, name: argument(request, 'name'), cid: argument(request, 'cid') }
      return projectionReply(await projectionsOf(parts).set(context, projectionId(request, false), asked, { signal }))
    },
    unproject: async ({ request, context, signal }) =>
      projectionReply(await projectionsOf(parts).remove(context, projectionId(request, true), { signal })),
  }
}

/** `projection`, or the text of a plain request where nothing else is said. */
function projectionId(request: Request, plain: boolean): string {
  const id = argument(request, 'projection') ?? (plain ? plainText(request) : undefined)
  if (id === undefined) throw new AppError('REQUEST_INVALID', 'the request has no projection')
  return id
}

function projectionsOf({ projections }: CommandParts): ProjectionVerbs {
  if (projections !== undefined) return projections
  throw new AppError('REQUEST_INVALID', 'this node does not watch over copies', { hint: 'see STOWAGE_PLACEMENT' })
}

function projectionReply({ projection, eventId, sequence, repeated }: ProjectionOutcome): Outgoing {
  const { id, site, subject } = projection
  return jsonReply(
    { id, site, ...subject, eventId, sequence, repeated },
    { ...outcomeHeaders({ repeated }), [header.eventId]: eventId, [header.sequence]: String(sequence) },
  )
}

async function put(parts: CommandParts, call: CommandCall): Promise<Outgoing> {
  const { request, context, signal } = call
  const name = argument(request, 'name')
  const mediaType = mediaTypeOf(request)
  const stored = argument(request, 'cid')
  if (stored !== undefined) {
    if (name === undefined) throw new AppError('REQUEST_INVALID', 'what is stored already needs a name to be put under')
    if (request.body.byteLength > 0) throw new AppError('REQUEST_INVALID', 'the request has both a cid and content')
    return nameReply(await parts.verbs.changeNames(context, [await setOf(parts, request, signal)], { signal }))
  }
  const upload = { kind: 'file', ...checkedContent(call), options: { profile: profileOf(request), signal } } as const
  const named = {
    ...(name === undefined ? {} : { name, expect: expectationOf(request) }),
    ...(mediaType === undefined ? {} : { mediaType }),
  }
  return putReply(parts, call, await parts.verbs.put(context, upload, { ...named, signal }))
}

function profileOf(request: Request): Profile {
  const text = argument(request, 'profile') ?? 'unixfs-v1-2025'
  const profile = profiles.find((known) => known === text)
  if (profile === undefined) throw new AppError('REQUEST_INVALID', `profile is ${profiles.join(' or ')}`)
  return profile
}

/** Content-Type says it of the content itself, where the body is just that. */
function mediaTypeOf(request: Request): string | undefined {
  const given = argument(request, 'mediaType')
  if (given !== undefined) return given
  if (request.envelope?.contentType !== undefined) return request.envelope.contentType
  const type = request.headers.get('content-type')
  const isOfRequest = Object.keys(request.fields).length > 0 || type?.trim().toLowerCase().startsWith(envelopeType)
  return isOfRequest ? undefined : type?.trim()
}

/** One change, or several in one commit: `changes: [{ name, cid, … } | { name, remove: true, … }]`. */
async function changesOf(parts: CommandParts, request: Request, signal: AbortSignal): Promise<NameChange[]> {
  const { changes } = request.fields
  if (changes === undefined) return [await setOf(parts, request, signal)]
  if (!Array.isArray(changes) || changes.length === 0 || changes.length > changesMax || !changes.every(isRecord)) {
    throw new AppError('REQUEST_INVALID', `changes is a list of 1 to ${changesMax} objects`)
  }
  const result: NameChange[] = []
  for (const fields of changes as Readonly<Record<string, unknown>>[]) {
    const unknown = Object.keys(fields).find((field) => !changeFields.includes(field))
    if (unknown !== undefined) {
      throw new AppError('REQUEST_INVALID', `unknown field ${JSON.stringify(unknown.slice(0, 100))} in a change`, {
        hint: `a change takes ${changeFields.join(', ')}`,
      })
    }
    const change: Request = { ...request, headers: new Map(), fields, body: new Uint8Array() }
    if (flagArgument(change, 'remove')) {
      result.push({ kind: 'remove', name: nameOf(change, 'name'), expect: expectationOf(change) })
    } else result.push(await setOf(parts, change, signal))
  }
  return result
}

const changesMax = 100
const changeFields = ['name', 'cid', 'mediaType', 'ifMatch', 'ifNoneMatch', 'remove']

async function setOf(parts: CommandParts, request: Request, signal: AbortSignal): Promise<NameChange> {
  const name = argument(request, 'name')
  if (name === undefined) throw new AppError('REQUEST_INVALID', 'the request has no name')
  const cid = await rootOf(parts, argument(request, 'cid') ?? plainText(request), request, signal)
  const target = await parts.get.open({ root: cid, segments: [] }, { signal })
  return {
    kind: 'set',
    name,
    cid: cid.toV1().toString(),
    size: target.kind === 'file' ? Number(target.size) : null,
    mediaType: mediaTypeOf(request) ?? null,
    expect: expectationOf(request),
  }
}

/** The CID itself, without a path. */
async function rootOf(parts: CommandParts, cid: string | undefined, request: Request, signal: AbortSignal) {
  if (cid === undefined) throw new AppError('REQUEST_INVALID', 'the request has no cid')
  const bare: Request = { ...request, headers: new Map(), fields: { cid }, body: new Uint8Array() }
  const { path } = await resolve(referenceOf(bare, parts.limits), parts.verbs, parts.limits, signal)
  if (path.segments.length > 0) throw new AppError('REQUEST_INVALID', 'a CID without a path was expected')
  return path.root
}

function nameOf(request: Request, field: 'name' | 'from'): string {
  const name = argument(request, field) ?? plainText(request)
  if (name === undefined) throw new AppError('REQUEST_INVALID', `the request has no ${field}`)
  return name
}

/** `ifMatch` is the revision that the name must have, `ifNoneMatch: *` that there must be none; as over HTTP. */
function expectationOf(request: Request): NameExpectation {
  const match = argument(request, 'ifMatch')
  const none = argument(request, 'ifNoneMatch')
  if (none !== undefined) {
    if (none.trim() === '*' && match === undefined) return 'absent'
    throw new AppError('REQUEST_INVALID', 'ifNoneMatch is *, and goes without ifMatch')
  }
  if (match === undefined) return 'any'
  const revision = /^"?(\d{1,15})"?$/.exec(match.trim())?.[1]
  if (revision === undefined) throw new AppError('REQUEST_INVALID', 'ifMatch is a revision, like "12"')
  return { revision: Number(revision) }
}

function outcomeHeaders({ repeated }: { readonly repeated: boolean }): Record<string, string> {
  return repeated ? { [header.repeated]: 'true' } : {}
}

/** `wait: policy`, `local` or a number of copies, and `waitSeconds` at the most. */
async function settled(
  { propagation }: CommandParts,
  { request, answered, signal }: CommandCall,
  cid: CID | undefined,
) {
  const text = argument(request, 'wait')
  const level = text === undefined ? undefined : ackLevelOf(text)
  if (text !== undefined && level === undefined) {
    throw new AppError('REQUEST_INVALID', 'wait is policy, local or a number of copies')
  }
  const seconds = countArgument(request, 'waitSeconds', { min: 0, max: 86_400 })
  if (propagation === undefined || cid === undefined || answered !== true) return undefined
  return propagation.settle(cid, { level, timeoutMs: seconds === undefined ? undefined : seconds * 1000 }, { signal })
}

async function putReply(
  parts: CommandParts,
  call: CommandCall,
  outcome: PutOutcome<CID | undefined>,
): Promise<Outgoing> {
  const cid = outcome.cid?.toString() ?? null
  const { size, roots, partial: _partial, ...rest } = outcome
  const copies = await settled(parts, call, outcome.cid)
  return jsonReply(
    {
      ...{ ...rest, cid, size: Number(size), roots: roots.map(String) },
      ...{ ...partialFields(outcome), ...propagationFields(copies?.count) },
    },
    {
      ...outcomeHeaders(outcome),
      ...propagationHeaders(copies?.count),
      ...(cid === null ? {} : { [header.cid]: cid }),
      [header.eventId]: outcome.eventId,
      [header.sequence]: String(outcome.sequence),
      ...(outcome.name === undefined ? {} : { [header.revision]: String(outcome.name.revision) }),
    },
  )
}

function nameReply(outcome: NameOutcome): Outgoing {
  const [entry] = outcome.entries
  return jsonReply(outcome, {
    ...outcomeHeaders(outcome),
    ...(entry === null || entry === undefined
      ? {}
      : { [header.cid]: entry.cid, [header.revision]: String(entry.revision) }),
  })
}
