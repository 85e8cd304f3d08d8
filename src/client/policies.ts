import type { CallOptions } from './client.ts'
import { conditionHeaders, type NameCondition } from './names.ts'
import { jsonBody, type NodeCall } from './node-call.ts'
import type { Query } from './node-url.ts'
import { type Fields, fieldsOf } from './reply-fields.ts'

type DocumentOptions = CallOptions & {
  /** Undefined = the policy that holds. */
  readonly document?: unknown
}

/** Policies of a node. The shapes are the API's own; see docs/placement.md. */
export interface PoliciesClient {
  /** @param at a revision or an RFC 3339 time @throws AppError POLICY_NOT_FOUND */
  get(space: string, options: CallOptions & { readonly at?: string | undefined }): Promise<Fields>
  /** @throws AppError POLICY_INVALID | REVISION_CONFLICT */
  set(space: string, document: unknown, options: CallOptions & NameCondition): Promise<Fields>
  /** Oldest first. */
  history(space: string, options: CallOptions): Promise<readonly Fields[]>
  undo(space: string, options: CallOptions & { readonly revision?: number | undefined }): Promise<Fields>
  /** @throws AppError POLICY_INVALID with every problem */
  check(space: string, document: unknown, options: CallOptions): Promise<Fields>
  /** What it would have done now; nothing is done. */
  plan(space: string, options: DocumentOptions & { readonly limit?: number | undefined }): Promise<Fields>
  /** What it would have meant for the reads of a time. */
  backtest(
    space: string,
    options: DocumentOptions & { readonly since: string; readonly until: string },
  ): Promise<Fields>
}

export function createPoliciesClient(call: NodeCall): PoliciesClient {
  const policyPath = (space: string, ...below: string[]): readonly string[] => ['policies', space, ...below]
  const post = async (
    path: readonly string[],
    query: Query,
    document: unknown,
    signal: AbortSignal,
  ): Promise<Fields> => {
    const body = document === undefined ? {} : jsonBody(document)
    return fieldsOf(await call.json({ method: 'POST', path, query, signal, ...body }))
  }
  return {
    get: async (space, { at, signal }) =>
      fieldsOf(await call.json({ method: 'GET', path: policyPath(space), query: { at }, signal })),
    set: async (space, document, { signal, ...condition }) => {
      const { headers, body } = jsonBody(document)
      const all = { ...headers, ...conditionHeaders(condition) }
      return fieldsOf(await call.json({ method: 'PUT', path: policyPath(space), headers: all, body, signal }))
    },
    history: async (space, { signal }) => {
      const { versions } = fieldsOf(await call.json({ method: 'GET', path: policyPath(space, 'history'), signal }))
      return Array.isArray(versions) ? versions.map(fieldsOf) : []
    },
    undo: (space, { revision, signal }) => post(policyPath(space, 'undo'), { revision }, undefined, signal),
    check: (space, document, { signal }) => post(policyPath(space, 'check'), {}, document, signal),
    plan: (space, { document, limit, signal }) => post(policyPath(space, 'plan'), { limit }, document, signal),
    backtest: (space, { document, since, until, signal }) =>
      post(policyPath(space, 'backtest'), { since, until }, document, signal),
  }
}
