import { AppError } from '../errors.ts'

/** CloudEvents 1.0 attributes that a request may carry; what it is about stays in `data`. */
export interface Envelope {
  readonly id: string | undefined
  readonly type: string | undefined
  readonly correlation: string | undefined
  readonly causation: string | undefined
  readonly owner: string | undefined
  readonly traceparent: string | undefined
  readonly contentType: string | undefined
  readonly data?: unknown
  /** `data_base64`, decoded. */
  readonly bytes?: Uint8Array
}

/** Structured mode: the whole event is the body. @throws AppError REQUEST_INVALID */
export function readEnvelope(fields: Readonly<Record<string, unknown>>): Envelope {
  if (fields.specversion !== '1.0') {
    throw new AppError('REQUEST_INVALID', 'the envelope has no specversion "1.0"', { hint: 'see CloudEvents 1.0' })
  }
  const text = (name: string): string | undefined => {
    const value = fields[name]
    if (value === undefined || value === null) return undefined
    if (typeof value !== 'string' || value === '') throw new AppError('REQUEST_INVALID', `${name} is no text`)
    return value
  }
  for (const required of ['id', 'source', 'type']) {
    if (text(required) === undefined) throw new AppError('REQUEST_INVALID', `the envelope has no ${required}`)
  }
  if (fields.dataref !== undefined) {
    throw new AppError('REQUEST_INVALID', 'the envelope has a dataref', {
      hint: 'put the content first and name it by its cid',
    })
  }
  return {
    ...attributes(text, 'datacontenttype'),
    data: fields.data ?? (fields.data_base64 === undefined ? {} : undefined),
    ...(fields.data_base64 === undefined ? {} : { bytes: base64Bytes(fields.data_base64, 'data_base64') }),
  }
}

/** Binary mode: attributes as `ce-…` headers, percent-encoded; the body is the data. Undefined when there are none. */
export function readBinaryEnvelope(headers: ReadonlyMap<string, string>): Envelope | undefined {
  if (!headers.has('ce-id') && !headers.has('ce-type')) return undefined
  if (headers.has('ce-dataref')) throw new AppError('REQUEST_INVALID', 'ce-dataref is not taken here')
  return attributes((name) => decodePercent(headers.get(`ce-${name}`)), 'datacontenttype')
}

function attributes(text: (name: string) => string | undefined, contentType: string): Envelope {
  return {
    id: text('id'),
    type: text('type'),
    correlation: text('correlationid'),
    causation: text('causationid'),
    owner: text('owner'),
    traceparent: text('traceparent'),
    contentType: text(contentType),
  }
}

function decodePercent(value: string | undefined): string | undefined {
  if (value === undefined || !value.includes('%')) return value
  try {
    return decodeURIComponent(value)
  } catch (cause) {
    throw new AppError('REQUEST_INVALID', 'a ce- header has a percent-encoding that is not UTF-8', { cause })
  }
}

/** Node's decoder takes anything; what it skips is an error of the sender. */
export function base64Bytes(value: unknown, name: string): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'base64') : undefined
  if (bytes === undefined || bytes.toString('base64').replace(/=+$/, '') !== String(value).replace(/=+$/, '')) {
    throw new AppError('REQUEST_INVALID', `${name} is not base64`)
  }
  return bytes
}
