import { AppError, type ErrorBody, errorBody, isAppError, statusOf } from '../errors.ts'
import type { HeaderList } from './headers.ts'
import { escapeHtml, page, pagePolicy } from './page.ts'
import type { Reply } from './reply.ts'

const titleOf: Readonly<Record<number, string>> = {
  400: 'Bad request',
  404: 'Not found',
  405: 'Method not allowed',
  406: 'Not acceptable',
  410: 'Deleted',
  412: 'Not in this store',
  413: 'Too large',
  416: 'Range not satisfiable',
  422: 'Cannot be read as a file',
  500: 'Something is broken here',
  503: 'The store cannot be reached',
}

/** What to do, where the error itself does not say. */
const hintOf: Readonly<Record<number, string>> = {
  400: 'Check the address.',
  404: 'Check the address; the content may never have been added here.',
  410: 'Whoever stored it took it out of view; adding it again brings it back.',
  422: 'The block itself can be had with ?format=raw.',
  500: 'Tell whoever runs this gateway.',
  503: 'Try again in a few seconds.',
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
  const hint = rest.hint ?? hintOf[status]
  const body: ErrorBody = hint === undefined ? { ...rest, message } : { ...rest, message, hint }
  const headers: HeaderList = ['Cache-Control', 'no-store']
  if (code === 'METHOD_NOT_ALLOWED') headers.push('Allow', 'GET, HEAD, OPTIONS')
  if (status === 503) headers.push('Retry-After', '5')
  return written(status, headers, body, accept ?? '')
}

function written(status: number, headers: HeaderList, body: ErrorBody, accept: string): Reply {
  if (accept.includes('text/html')) {
    const title = titleOf[status] ?? 'Error'
    const hint = body.hint === undefined ? '' : `<p class="hint">${escapeHtml(body.hint)}</p>`
    const text = page({
      title: `${status} ${title}`,
      main: `<h1>${escapeHtml(title)}</h1><p>${escapeHtml(body.message)}</p>${hint}<p class="code">${status} ${escapeHtml(body.code)}</p>`,
    })
    headers.push('Content-Type', 'text/html; charset=utf-8', 'Content-Security-Policy', pagePolicy)
    return withText(status, headers, text)
  }
  if (accept.includes('application/json')) {
    headers.push('Content-Type', 'application/json')
    return withText(status, headers, `${JSON.stringify(body)}\n`)
  }
  headers.push('Content-Type', 'text/plain; charset=utf-8')
  return withText(status, headers, body.hint === undefined ? `${body.message}\n` : `${body.message}\n${body.hint}\n`)
}

export function withText(status: number, headers: HeaderList, text: string): Reply {
  const bytes = Buffer.from(text)
  headers.push('Content-Length', String(bytes.byteLength))
  return { status, headers, body: { kind: 'whole', bytes } }
}

export function unsatisfiable(size: bigint, accept: string | undefined): Reply {
  const error = new AppError('RANGE_UNSATISFIABLE', `the range lies outside of the content, which has ${size} bytes`)
  const reply = errorReply(error, accept)
  reply.headers.push('Content-Range', `bytes */${size}`, 'Accept-Ranges', 'bytes')
  return reply
}
