import type { FastifyReply, FastifyRequest } from 'fastify'
import type { CID } from 'multiformats/cid'
import {
  ackLevelOf,
  copiesText,
  type Propagation,
  propagationFields,
  propagationHeader,
  type Settled,
  type Wish,
} from '../content/propagation.ts'

/**
 * `Prefer` (RFC 7240) of a put: `wait=policy`, `wait=local` or `copies=2`, and how long for: `timeout=10`, or `wait=10` as the
 * RFC has it, in seconds. What is not understood is passed over, as the RFC asks; the reply says what was kept.
 */
export function wishOf({ headers }: Pick<FastifyRequest, 'headers'>): Wish {
  let level: Wish['level']
  let timeoutMs: Wish['timeoutMs']
  for (const part of String(headers.prefer ?? '').split(/[,;]/, partsMax)) {
    const [, name, value] = /^\s*([a-z]+)\s*=\s*"?([\w.]{1,32})"?\s*$/i.exec(part) ?? []
    if (name === undefined || value === undefined) continue
    const seconds = /^\d{1,6}(\.\d{1,3})?$/.test(value) ? Number(value) : undefined
    switch (name.toLowerCase()) {
      case 'wait':
        if (seconds !== undefined) timeoutMs ??= seconds * 1000
        else if (value === 'policy' || value === 'local') level ??= value
        break
      case 'copies':
        if (value !== 'policy' && value !== 'local') level ??= ackLevelOf(value)
        break
      case 'timeout':
        if (seconds !== undefined) timeoutMs ??= seconds * 1000
        break
    }
  }
  return { level, timeoutMs }
}

const partsMax = 16

/** What became of the wish: `Preference-Applied` only where it was kept. */
export function tellSettled(reply: FastifyReply, { level: wished }: Wish, { level, met, count }: Settled): void {
  if (wished !== undefined && met) {
    reply.header('preference-applied', typeof level === 'number' ? `copies=${level}` : `wait=${level}`)
  }
  if (count === undefined) return
  reply.header(propagationHeader.copies, copiesText(count))
  if (count.provisional) reply.header(propagationHeader.provisional, 'true')
}

/** After a put: waits as it was wished for, and tells what became of it. @returns fields for the reply */
export async function settlePut(
  request: FastifyRequest,
  reply: FastifyReply,
  root: CID | undefined,
  { propagation, signal }: { readonly propagation: Propagation | undefined; readonly signal: AbortSignal },
) {
  if (propagation === undefined || root === undefined) return {}
  const wish = wishOf(request)
  const settled = await propagation.settle(root, wish, { signal })
  tellSettled(reply, wish, settled)
  return propagationFields(settled.count)
}
