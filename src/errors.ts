import type { LimitName } from './observability/limits.ts'

/**
 * Every failure a caller can meet, once. The codes are stable: HTTP bodies and NATS replies carry them in lower case.
 * Adding a code makes tsc name every table that has to learn it.
 */
export type ErrorCode =
  // what was asked for is malformed
  | 'CID_INVALID'
  | 'PATH_INVALID'
  | 'REQUEST_INVALID'
  | 'FORMAT_UNSUPPORTED'
  | 'MEDIA_TYPE_UNSUPPORTED'
  | 'DIGEST_MISMATCH'
  | 'METHOD_NOT_ALLOWED'
  | 'HOST_UNKNOWN'
  | 'RANGE_UNSATISFIABLE'
  | 'CAR_INVALID'
  | 'NAME_INVALID'
  | 'POLICY_INVALID'
  | 'IPNS_INVALID'
  // what was asked for is not here
  | 'BLOCK_NOT_FOUND'
  | 'PATH_NOT_FOUND'
  | 'NAME_NOT_FOUND'
  | 'IPNS_UNRESOLVED'
  | 'ROUTE_NOT_FOUND'
  | 'OBJECT_DELETED'
  | 'POLICY_NOT_FOUND'
  | 'PLACE_NOT_FOUND'
  // somebody else was first
  | 'REVISION_CONFLICT'
  | 'OBJECT_NAMED'
  | 'COMMAND_REPEATED'
  | 'COMMAND_ID_TAKEN'
  | 'PLACE_IN_USE'
  // what is here is damaged
  | 'BLOCK_LOST'
  | 'BLOCK_CORRUPT'
  | 'DAG_INVALID'
  | 'CODEC_UNSUPPORTED'
  | 'REDIRECTS_INVALID'
  | 'PATH_ENDS_IN_BLOCK'
  // what is here is not to be served
  | 'CONTENT_DENIED'
  | 'CONTENT_DENIED_LEGALLY'
  // a limit was reached
  | 'BLOCK_TOO_LARGE'
  | 'UPLOAD_TOO_LARGE'
  | 'LIMIT_EXCEEDED'
  | 'UPLOAD_STALLED'
  | 'FILE_TOO_LARGE'
  | 'RATE_LIMITED'
  | 'RETRIEVAL_TIMEOUT'
  | 'REQUEST_TIMEOUT'
  // rights
  | 'UNAUTHORIZED'
  | 'FORBIDDEN'
  // the store
  | 'STORE_UNAVAILABLE'
  | 'STORE_FULL'
  | 'STORE_REFUSED'
  | 'STORE_MISMATCH'
  | 'LOG_DAMAGED'
  // the set-up (these end the process or a command, with one line)
  | 'SETTING_INVALID'
  | 'SERVER_NOT_FOUND'
  | 'SERVER_TOO_OLD'
  | 'SERVER_FAILED'
  | 'PORT_TAKEN'
  | 'DATA_FOLDER_LOCKED'
  | 'DATA_FOLDER_UNUSABLE'
  // what a client meets on its side
  | 'NODE_UNREACHABLE'
  | 'CONNECTION_LOST'
  | 'FILE_UNUSABLE'
  | 'INTERNAL'

export interface AppErrorOptions {
  readonly cause?: unknown
  /** What the reader can do about it: one sentence. */
  readonly hint?: string
  /** The limit that was met, for the counters. */
  readonly limit?: LimitName
  /** The block that is not there, as CID: a root, or one below it. */
  readonly block?: string
}

export class AppError extends Error {
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly limit: LimitName | undefined
  readonly block: string | undefined

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'AppError'
    this.code = code
    this.hint = options.hint
    this.limit = options.limit
    this.block = options.block
  }
}

export function isAppError(error: unknown, code?: ErrorCode): error is AppError {
  return error instanceof AppError && (code === undefined || error.code === code)
}

/** The HTTP status of each code; gateway and API share it, so that one failure has one answer. */
export const statusOf: Readonly<Record<ErrorCode, number>> = {
  CID_INVALID: 400,
  PATH_INVALID: 400,
  REQUEST_INVALID: 400,
  FORMAT_UNSUPPORTED: 406,
  MEDIA_TYPE_UNSUPPORTED: 415,
  DIGEST_MISMATCH: 400,
  METHOD_NOT_ALLOWED: 405,
  HOST_UNKNOWN: 421,
  RANGE_UNSATISFIABLE: 416,
  CAR_INVALID: 400,
  NAME_INVALID: 400,
  POLICY_INVALID: 400,
  IPNS_INVALID: 400,
  BLOCK_NOT_FOUND: 404,
  PATH_NOT_FOUND: 404,
  NAME_NOT_FOUND: 404,
  // As the gateways of the network answer: it may exist, only not be known here.
  IPNS_UNRESOLVED: 500,
  ROUTE_NOT_FOUND: 404,
  OBJECT_DELETED: 410,
  POLICY_NOT_FOUND: 404,
  PLACE_NOT_FOUND: 404,
  REVISION_CONFLICT: 412,
  OBJECT_NAMED: 409,
  COMMAND_REPEATED: 409,
  COMMAND_ID_TAKEN: 409,
  PLACE_IN_USE: 409,
  BLOCK_LOST: 500,
  BLOCK_CORRUPT: 500,
  DAG_INVALID: 422,
  CODEC_UNSUPPORTED: 406,
  REDIRECTS_INVALID: 500,
  PATH_ENDS_IN_BLOCK: 501,
  CONTENT_DENIED: 410,
  CONTENT_DENIED_LEGALLY: 451,
  BLOCK_TOO_LARGE: 413,
  UPLOAD_TOO_LARGE: 413,
  LIMIT_EXCEEDED: 413,
  UPLOAD_STALLED: 408,
  FILE_TOO_LARGE: 410,
  RATE_LIMITED: 429,
  RETRIEVAL_TIMEOUT: 504,
  REQUEST_TIMEOUT: 504,
  UNAUTHORIZED: 401,
  FORBIDDEN: 403,
  STORE_UNAVAILABLE: 503,
  STORE_FULL: 507,
  STORE_REFUSED: 500,
  STORE_MISMATCH: 500,
  LOG_DAMAGED: 503,
  SETTING_INVALID: 500,
  SERVER_NOT_FOUND: 500,
  SERVER_TOO_OLD: 500,
  SERVER_FAILED: 500,
  PORT_TAKEN: 500,
  DATA_FOLDER_LOCKED: 500,
  DATA_FOLDER_UNUSABLE: 500,
  NODE_UNREACHABLE: 503,
  CONNECTION_LOST: 502,
  FILE_UNUSABLE: 500,
  INTERNAL: 500,
}

/** The shape of an error wherever one leaves the node: no stack, no cause. */
export interface ErrorBody {
  readonly code: string
  readonly message: string
  readonly hint?: string
}

/** Anything that is not an AppError is ours to fix: the client learns only that. */
export function errorBody(error: unknown): ErrorBody {
  if (!isAppError(error)) return { code: 'internal', message: 'internal error' }
  const body = { code: error.code.toLowerCase(), message: error.message }
  return error.hint === undefined ? body : { ...body, hint: error.hint }
}
