import { expect, type TestContext } from 'vitest'
import { type FullNode, type FullNodeOptions, startFullNode } from './full-node.ts'

export type Fields = Readonly<Record<string, unknown>>

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly json: Fields
}

export interface PlacedNode extends FullNode {
  call(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>
  /** Stores bytes. @returns their CID */
  put(content: string | Uint8Array, name?: string): Promise<string>
  /** Waits until `why` says so of a root; by default for half a minute. */
  untilWhy(cid: string, isSo: (why: Fields) => boolean, waitMs?: number): Promise<Fields>
}

/** A node that watches over copies, spoken to over its API. */
export async function startPlacedNode(
  onFinished: TestContext['onTestFinished'],
  env: Readonly<Record<string, string>> = {},
  more: Pick<FullNodeOptions, 'nats'> = {},
): Promise<PlacedNode> {
  const full = await startFullNode(onFinished, { ...more, env: { STOWAGE_SITE: 'home', ...env } })
  const call: PlacedNode['call'] = async (method, path, body, headers = {}) => {
    const response = await fetch(`${full.node.apiUrl}/api/v1/${path}`, {
      method,
      headers: { authorization: `Bearer ${full.token}`, ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, json: text === '' ? {} : (JSON.parse(text) as Fields) }
  }
  return {
    ...full,
    call,
    put: async (content, name) => {
      const query = name === undefined ? '' : `?name=${encodeURIComponent(name)}`
      const response = await fetch(`${full.node.apiUrl}/api/v1/objects${query}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${full.token}`, 'content-type': 'application/octet-stream' },
        body: content,
      })
      const { cid } = (await response.json()) as { readonly cid: string }
      return cid
    },
    untilWhy: async (cid, isSo, waitMs = 30_000) => {
      let why: Fields = {}
      await expect
        .poll(
          async () => {
            why = (await call('GET', `why/${cid}`)).json
            return isSo(why)
          },
          { timeout: waitMs },
        )
        .toBe(true)
      return why
    },
  }
}

export const copies = (count: number, more: object = {}) => ({
  version: 1,
  rules: [{ name: 'all', copies: count, ...more }],
})
