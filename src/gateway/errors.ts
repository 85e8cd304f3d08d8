import { AppError, type ErrorBody, type ErrorCode, errorBody, isAppError, statusOf } from '../errors.ts'
import type { HeaderList } from './headers.ts'
import { page, pagePolicy } from './page.ts'
import { shown } from './place-links.ts'
import type { Reply } from './reply.ts'

const titleOf: Readonly<Record<number, string>> = {
  400: 'Bad request',
  404: 'Not found',
  405: 'This gateway is read only',
  406: 'Not in this format',
  410: 'Not served any more',
  412: 'Not in this store',
  413: 'Too large',
  416: 'Range not satisfiable',
  422: 'Cannot be read as a file',
  429: 'Too many requests',
  451: 'Blocked for legal reasons',
  500: 'Something is broken here',
  501: 'Not supported',
  502: 'No answer from behind this gateway',
  503: 'The store cannot be reached',
  504: 'It took too long',
}

/** What to do, where the error itself does not say: by its code, else by its status. */
const hintOfCode: Readonly<Partial<Record<ErrorCode, string>>> = {
  BLOCK_NOT_FOUND:
    'A block of it is missing here. Adding the content here (stowage add, or a CAR of it) brings it; another gateway may have it.',
  PATH_NOT_FOUND: 'Look at the directory above it: names differ in upper and lower case.',
  NAME_NOT_FOUND: 'Check the name, letter by letter; it may have been renamed or removed.',
  ROUTE_NOT_FOUND: 'Content is at /ipfs/<cid>, /ipns/<name> and /names/<name>.',
  BLOCK_LOST: 'It was stored here and its bytes are gone: tell whoever runs this gateway. Adding it again repairs it.',
  BLOCK_CORRUPT: 'Its bytes do not match its hash, so they are not sent: tell whoever runs this gateway.',
  DAG_INVALID: 'The block itself can be had with ?format=raw.',
  CODEC_UNSUPPORTED: 'The block itself can be had with ?format=raw, and with all below it with ?format=car.',
  LIMIT_EXCEEDED: 'Ask for a part: a path further down, a range, or ?format=car&dag-scope=block.',
  STORE_FULL: 'Tell whoever runs this gateway.',
  CONTENT_DENIED: 'Whoever runs this gateway has it on a denylist.',
}
const hintOf: Readonly<Record<number, string>> = {
  400: 'Check the address.',
  404: 'Check the address; the content may never have been added here.',
  406: 'Leave format and Accept out, or ask for ?format=raw or ?format=car.',
  410: 'Whoever stored it took it out of view; adding it again brings it back.',
  412: 'Ask without Cache-Control: only-if-cached.',
  413: 'Ask for a part of it.',
  416: 'Ask for a range inside of the content, or for all of it.',
  422: 'The block itself can be had with ?format=raw.',
  429: 'Wait a minute, then ask again, with fewer requests at a time.',
  451: 'Whoever runs this gateway was told not to serve it.',
  500: 'Tell whoever runs this gateway.',
  501: 'The block itself can be had with ?format=raw.',
  502: 'Try again in a minute.',
  503: 'Try again in a few seconds.',
  504: 'Try again; a part of it (a path further down, a range) takes less time.',
}

/** Status and body of a failure: JSON, HTML or plain text, as the client likes it. Never cached: it may pass. */
export function errorReply(
  error: unknown,
  accept: string | undefined,
  options: { onlyIfCached?: boolean } = {},
): Reply {
  const code = isAppError(error) ? error.code : 'INTERNAL'
  const status = options.onlyIfCached === true && code === 'BLOCK_NOT_FOUND' ? 412 : statusOf[code]
  const { message, ...rest } = errorBody(error)
  const body = { ...rest, message, hint: rest.hint ?? hintFor(code, status) }
  const headers: HeaderList = ['Cache-Control', 'no-store']
  if (code === 'METHOD_NOT_ALLOWED') headers.push('Allow', 'GET, HEAD, OPTIONS')
  if (status === 503 || status === 504) headers.push('Retry-After', '5')
  if (status === 429) headers.push('Retry-After', '60')
  return written(status, headers, body, accept ?? '')
}

/** The status may be another than that of the code: 412 for what was to come out of the cache only. */
function hintFor(code: ErrorCode, status: number): string {
  const byCode = status === statusOf[code] ? hintOfCode[code] : undefined
  return byCode ?? hintOf[status] ?? (status < 500 ? 'Check the request.' : 'Tell whoever runs this gateway.')
}

function written(status: number, headers: HeaderList, body: Required<ErrorBody>, accept: string): Reply {
  if (accept.includes('text/html')) {
    const title = titleOf[status] ?? 'Error'
    const text = page({
      title: `${status} ${title}`,
      main: `<p class="status">${status}</p>
<h1>${title}</h1>
<p>${shown(body.message)}</p>
<p class="hint">${shown(body.hint)}</p>
<p class="code">${shown(body.code)} · <a href="/">Start page</a></p>`,
    })
    headers.push('Content-Type', 'text/html; charset=utf-8', 'Content-Security-Policy', pagePolicy)
    return withText(status, headers, text)
  }
  if (/\bjson\b/.test(accept)) {
    headers.push('Content-Type', 'application/json')
    return withText(status, headers, `${JSON.stringify(body)}\n`)
  }
  headers.push('Content-Type', 'text/plain; charset=utf-8')
  return withText(status, headers, `${body.message}\n${body.hint}\n`)
}

export function withText(status: number, headers: HeaderList, text: string | Uint8Array): Reply {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text
  headers.push('Content-Length', String(bytes.byteLength))
  return { status, headers, body: { kind: 'whole', bytes } }
}

export function unsatisfiable(size: bigint, accept: string | undefined): Reply {
  const error = new AppError('RANGE_UNSATISFIABLE', `the range lies outside of the content, which has ${size} bytes`)
  const reply = errorReply(error, accept)
  reply.headers.push('Content-Range', `bytes */${size}`, 'Accept-Ranges', 'bytes')
  return reply
}
