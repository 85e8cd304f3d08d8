import type { IncomingMessage } from 'node:http'
import { AppError } from '../errors.ts'

type Head = Pick<IncomingMessage, 'rawHeaders' | 'httpVersion'>

/** How many hosts a request names. */
export function hostCount({ rawHeaders }: Pick<Head, 'rawHeaders'>): number {
  let hosts = 0
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]
    if (name?.length === 4 && name.toLowerCase() === 'host') hosts++
  }
  return hosts
}

/**
 * Refuses a request that names several hosts: whoever looks at the first and whoever looks at the last would take it for
 * different ones (RFC 9112 §3.2), or none where HTTP/1.1 wants one.
 * @throws AppError REQUEST_INVALID
 */
export function checkOneHost(head: Head): void {
  const hosts = hostCount(head)
  if (hosts > 1) throw new AppError('REQUEST_INVALID', 'the request names several hosts')
  if (hosts === 0 && head.httpVersion === '1.1') throw new AppError('REQUEST_INVALID', 'the request names no host')
}
