import { type ErrorCode, isAppError } from '../errors.ts'

/** What a script can tell failures apart by; `stowage --help` prints this table. */
export const exitCodes = {
  ok: 0,
  failure: 1,
  usage: 2,
  notFound: 3,
  noNode: 4,
  notAuthorized: 5,
  storageFull: 6,
  conflict: 7,
  blocked: 8,
  interrupted: 130,
} as const

export const exitCodesHelp = `Exit codes:
  0    done
  1    failed; the message says why
  2    wrong usage: an option, a path, a name or a CID that cannot be right
  3    not found: the content, the name, or a file on disk
  4    no node answers
  5    not authorized: no token, or the wrong one
  6    the storage is full
  7    conflict: a name is not at the revision that was expected, or is there already
  8    serve: the node was blocked and ended itself, to be started again; its log says where it was
  130  interrupted`

const byCode: Readonly<Record<ErrorCode, number>> = {
  CID_INVALID: exitCodes.usage,
  PATH_INVALID: exitCodes.usage,
  REQUEST_INVALID: exitCodes.usage,
  FORMAT_UNSUPPORTED: exitCodes.usage,
  HOST_UNKNOWN: exitCodes.failure,
  DIGEST_MISMATCH: exitCodes.failure,
  MEDIA_TYPE_UNSUPPORTED: exitCodes.failure,
  METHOD_NOT_ALLOWED: exitCodes.failure,
  RANGE_UNSATISFIABLE: exitCodes.usage,
  CAR_INVALID: exitCodes.failure,
  IPNS_INVALID: exitCodes.failure,
  NAME_INVALID: exitCodes.usage,
  POLICY_INVALID: exitCodes.usage,
  BLOCK_NOT_FOUND: exitCodes.notFound,
  PATH_NOT_FOUND: exitCodes.notFound,
  NAME_NOT_FOUND: exitCodes.notFound,
  IPNS_UNRESOLVED: exitCodes.notFound,
  ROUTE_NOT_FOUND: exitCodes.failure,
  OBJECT_DELETED: exitCodes.notFound,
  POLICY_NOT_FOUND: exitCodes.notFound,
  PLACE_NOT_FOUND: exitCodes.notFound,
  REVISION_CONFLICT: exitCodes.conflict,
  OBJECT_NAMED: exitCodes.failure,
  COMMAND_REPEATED: exitCodes.failure,
  COMMAND_ID_TAKEN: exitCodes.failure,
  PLACE_IN_USE: exitCodes.conflict,
  BLOCK_LOST: exitCodes.failure,
  BLOCK_CORRUPT: exitCodes.failure,
  DAG_INVALID: exitCodes.failure,
  CODEC_UNSUPPORTED: exitCodes.failure,
  REDIRECTS_INVALID: exitCodes.failure,
  PATH_ENDS_IN_BLOCK: exitCodes.failure,
  CONTENT_DENIED: exitCodes.failure,
  CONTENT_DENIED_LEGALLY: exitCodes.failure,
  BLOCK_TOO_LARGE: exitCodes.failure,
  UPLOAD_TOO_LARGE: exitCodes.failure,
  LIMIT_EXCEEDED: exitCodes.failure,
  UPLOAD_STALLED: exitCodes.failure,
  FILE_TOO_LARGE: exitCodes.failure,
  RATE_LIMITED: exitCodes.failure,
  RETRIEVAL_TIMEOUT: exitCodes.failure,
  REQUEST_TIMEOUT: exitCodes.failure,
  UNAUTHORIZED: exitCodes.notAuthorized,
  FORBIDDEN: exitCodes.notAuthorized,
  STORE_UNAVAILABLE: exitCodes.failure,
  STORE_FULL: exitCodes.storageFull,
  STORE_REFUSED: exitCodes.failure,
  STORE_MISMATCH: exitCodes.failure,
  LOG_DAMAGED: exitCodes.failure,
  SETTING_INVALID: exitCodes.usage,
  SERVER_NOT_FOUND: exitCodes.failure,
  SERVER_TOO_OLD: exitCodes.failure,
  SERVER_FAILED: exitCodes.failure,
  PORT_TAKEN: exitCodes.failure,
  DATA_FOLDER_LOCKED: exitCodes.failure,
  DATA_FOLDER_UNUSABLE: exitCodes.failure,
  NODE_UNREACHABLE: exitCodes.noNode,
  CONNECTION_LOST: exitCodes.failure,
  FILE_UNUSABLE: exitCodes.failure,
  INTERNAL: exitCodes.failure,
}

export function exitCodeOf(error: unknown): number {
  return isAppError(error) ? byCode[error.code] : exitCodes.failure
}
