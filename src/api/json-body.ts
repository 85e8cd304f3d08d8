import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LimitConfig } from '../config.ts'
import { AppError } from '../errors.ts'
import { isRecord } from '../lib/json.ts'
import { collect } from '../lib/streams.ts'
import { MiB } from '../lib/units.ts'
import { checkedBody } from './checked-body.ts'
import { askForBody } from './respond.ts'

export type JsonObject = Readonly<Record<string, unknown>>
const jsonBytesMax = 1 * MiB

export interface JsonOptions extends Pick<LimitConfig, 'uploadIdleMs'> {
  readonly signal: AbortSignal
  /** Default: 1 MiB. */
  readonly bytesMax?: number
}

/** @throws AppError REQUEST_INVALID | UPLOAD_TOO_LARGE | UPLOAD_STALLED | MEDIA_TYPE_UNSUPPORTED */
export async function readJson(
  request: FastifyRequest,
  reply: FastifyReply,
  options: JsonOptions,
): Promise<JsonObject> {
  const value = await readOptionalJson(request, reply, options)
  if (value !== undefined) return value
  throw new AppError('REQUEST_INVALID', 'the body is empty, and a JSON object is needed')
}

/** Undefined where there is no body. @throws as `readJson` */
export async function readOptionalJson(
  request: FastifyRequest,
  reply: FastifyReply,
  { uploadIdleMs: idleMs, signal, bytesMax = jsonBytesMax }: JsonOptions,
): Promise<JsonObject | undefined> {
  const { content } = checkedBody(request, { bytesMax, idleMs, signal })
  askForBody(request, reply)
  const bytes = await collect(content, bytesMax)
  if (bytes.byteLength === 0) return undefined
  const value = parsed(bytes)
  if (isRecord(value)) return value
  throw new AppError('REQUEST_INVALID', 'the body is no JSON object')
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new AppError('REQUEST_INVALID', 'the body is no JSON', { cause })
  }
}

/** @throws AppError REQUEST_INVALID for a field that is not of the list */
export function onlyFields(value: JsonObject, allowed: readonly string[], what: string): void {
  const unknown = Object.keys(value).find((field) => !allowed.includes(field))
  if (unknown === undefined) return
  throw new AppError('REQUEST_INVALID', `${what} has an unknown field ${JSON.stringify(unknown.slice(0, 100))}`, {
    hint: `allowed: ${allowed.join(', ')}`,
  })
}

export function textField(value: JsonObject, field: string, what: string): string {
  const text = value[field]
  if (typeof text === 'string') return text
  throw new AppError('REQUEST_INVALID', `${what} needs ${field}, a string`)
}
