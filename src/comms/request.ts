import { AppError } from '../errors.ts'
import { isRecord } from '../lib/json.ts'
import type { Incoming } from '../nats/messaging.ts'
import { base64Bytes, type Envelope, readBinaryEnvelope, readEnvelope } from './envelope.ts'
import { type Command, envelopeType, header, type PeerQuery, type Query } from './protocol.ts'

export type Verb = Query | Command | PeerQuery
export type Kind = 'query' | 'command'
type Fields = Readonly<Record<string, unknown>>

/** A message, read: the same whether it came as a plain body with headers, as JSON or as a CloudEvents envelope. */
export interface Request {
  readonly verb: Verb
  /** By their lower-case names. */
  readonly headers: ReadonlyMap<string, string>
  /** Of a JSON request. */
  readonly fields: Fields
  /** Content of a put or import; otherwise the text of a plain request. */
  readonly body: Uint8Array
  readonly envelope: Envelope | undefined
}

/** The fields that each verb knows, which as headers are written `Name`, `Cid`, `If-Match` …; others are refused. */
const fieldsOf: Readonly<Record<Verb, readonly string[]>> = {
  get: ['ref', 'name', 'cid', 'path', 'range'],
  stat: ['ref', 'name', 'cid', 'path'],
  list: ['ref', 'name', 'cid', 'path', 'limit', 'after', 'detail'],
  resolve: ['ref', 'name', 'cid', 'path'],
  names: ['ref', 'prefix', 'cid', 'limit', 'cursor'],
  links: ['ref', 'name', 'cid', 'path'],
  status: ['ref', 'name', 'cid'],
  has: ['ref', 'name', 'cid', 'path'],
  why: ['ref', 'name', 'cid'],
  missing: ['positions', 'ranges'],
  put: [
    'name',
    'cid',
    'mediaType',
    'ifMatch',
    'ifNoneMatch',
    'profile',
    'wait',
    'waitSeconds',
    'content',
    'contentBase64',
  ],
  name: ['name', 'cid', 'mediaType', 'ifMatch', 'ifNoneMatch', 'changes'],
  unname: ['name', 'ifMatch'],
  rename: ['from', 'to', 'ifMatch', 'replace'],
  undo: ['name', 'revision'],
  delete: ['cid', 'force'],
  project: ['projection', 'site', 'name', 'cid'],
  unproject: ['projection'],
  import: ['wait', 'waitSeconds', 'partial', 'contentBase64'],
}

const always = ['id', 'correlation', 'causation', 'owner', 'traceparent']

const carriesContent = (verb: Verb) => verb === 'put' || verb === 'import'

/** @throws AppError REQUEST_INVALID */
export function readRequest(message: Incoming, verb: Verb, kind: Kind): Request {
  const { headers, data } = message
  if (headers === undefined) throw new AppError('REQUEST_INVALID', 'the headers cannot be read')
  const declared = headers.get(header.kind.toLowerCase())
  if (declared !== undefined && declared !== kind) {
    throw new AppError('REQUEST_INVALID', `the message says that it is ${JSON.stringify(declared.slice(0, 40))}`, {
      hint: `this subject takes a ${kind}`,
    })
  }
  const base = { verb, headers, fields: {}, body: data, envelope: undefined }
  switch (bodyKind(headers, data, verb)) {
    case 'content':
    case 'text': {
      const envelope = readBinaryEnvelope(headers)
      checkType(envelope, verb)
      return { ...base, envelope }
    }
    case 'json':
      return { ...base, ...splitFields(parseJson(data), verb) }
    case 'cloudevents': {
      const envelope = readEnvelope(parseJson(data))
      checkType(envelope, verb)
      if (envelope.bytes !== undefined) return { ...base, body: envelope.bytes, envelope }
      if (typeof envelope.data === 'string') return { ...base, body: Buffer.from(envelope.data), envelope }
      if (!isRecord(envelope.data)) throw new AppError('REQUEST_INVALID', 'the data of the envelope is no object')
      return { ...base, ...splitFields(envelope.data, verb), envelope }
    }
  }
}

type BodyKind = 'content' | 'text' | 'json' | 'cloudevents'

function bodyKind(headers: ReadonlyMap<string, string>, data: Uint8Array, verb: Verb): BodyKind {
  const declared = headers.get(header.body.toLowerCase())
  switch (declared) {
    case undefined:
      break
    case 'content':
    case 'text':
    case 'json':
    case 'cloudevents':
      return declared
    default:
      throw new AppError('REQUEST_INVALID', `${header.body} is content, text, json or cloudevents`)
  }
  if ((headers.get('content-type') ?? '').trim().toLowerCase().startsWith(envelopeType)) return 'cloudevents'
  // A file may begin with `{` too, and what is put is nobody's to read.
  if (carriesContent(verb)) return 'content'
  return data[0] === 0x7b ? 'json' : 'text'
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

export function textOf(data: Uint8Array): string {
  try {
    return utf8.decode(data)
  } catch (cause) {
    throw new AppError('REQUEST_INVALID', 'the body is not UTF-8', { cause })
  }
}

function parseJson(data: Uint8Array): Fields {
  let value: unknown
  try {
    value = JSON.parse(textOf(data))
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    throw new AppError('REQUEST_INVALID', 'the body is not JSON', { cause })
  }
  if (!isRecord(value)) throw new AppError('REQUEST_INVALID', 'the body is JSON, but no object')
  return value
}

/** The content of a JSON put comes inside of it. */
function splitFields(fields: Fields, verb: Verb): Pick<Request, 'fields' | 'body'> {
  const known = fieldsOf[verb]
  for (const name of Object.keys(fields)) {
    if (known.includes(name) || always.includes(name)) continue
    throw new AppError('REQUEST_INVALID', `unknown field ${JSON.stringify(name.slice(0, 100))}`, {
      hint: `${verb} takes ${[...known, ...always].join(', ')}`,
    })
  }
  const { content, contentBase64, ...rest } = fields
  if (content !== undefined && contentBase64 !== undefined) {
    throw new AppError('REQUEST_INVALID', 'content and contentBase64 exclude each other')
  }
  if (content !== undefined) {
    if (typeof content !== 'string') throw new AppError('REQUEST_INVALID', 'content is no text')
    return { fields: rest, body: Buffer.from(content) }
  }
  if (contentBase64 === undefined) return { fields: rest, body: new Uint8Array() }
  return { fields: rest, body: base64Bytes(contentBase64, 'contentBase64') }
}

/** An envelope says what it is; one that is something else (an event, another command) was sent to the wrong subject. */
function checkType(envelope: Envelope | undefined, verb: Verb): void {
  const type = envelope?.type
  if (type === undefined || new RegExp(`(^|\\.)${verb}\\.v1$`).test(type)) return
  throw new AppError('REQUEST_INVALID', `the envelope's type is ${JSON.stringify(type.slice(0, 100))}`, {
    hint: `on this subject it ends in .${verb}.v1`,
  })
}

/** One argument: the field of a JSON request, or the header of the same name (`ifMatch` is `If-Match`). */
export function argument(request: Request, name: string): string | undefined {
  const field = request.fields[name]
  if (typeof field === 'string') return field
  if (typeof field === 'number' || typeof field === 'boolean') return String(field)
  if (field !== undefined && field !== null) throw new AppError('REQUEST_INVALID', `${name} is no text`)
  return request.headers.get(name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`))
}

export function flagArgument(request: Request, name: string): boolean {
  const text = argument(request, name)
  if (text === undefined || text === 'false' || text === '0') return false
  if (text === 'true' || text === '1') return true
  throw new AppError('REQUEST_INVALID', `${name} is true or false`)
}

/** A whole number; undefined when it was not given. */
export function countArgument(
  request: Request,
  name: string,
  bounds: { readonly min: number; readonly max: number },
): number | undefined {
  const text = argument(request, name)
  if (text === undefined) return undefined
  const value = Number(text)
  if (/^\d{1,16}$/.test(text) && value >= bounds.min && value <= bounds.max) return value
  throw new AppError('REQUEST_INVALID', `${name} is a whole number from ${bounds.min} to ${bounds.max}`)
}

/** The text of a plain request; undefined when there is none, or the request is JSON. */
export function plainText(request: Request): string | undefined {
  if (request.body.byteLength === 0) return undefined
  // Shells end lines that people did not type.
  const text = textOf(request.body).replace(/\r?\n$/, '')
  return text === '' ? undefined : text
}
