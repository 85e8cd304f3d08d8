import type { FullNode } from './full-node.ts'

export interface HttpAnswer {
  readonly status: number
  readonly headers: Headers
  readonly bytes: Buffer
  readonly text: string
  /** Undefined where the body is none. */
  readonly json: Readonly<Record<string, unknown>> | undefined
}

export interface Call {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** Default: the node's; null = none. */
  readonly token?: string | null
}

export interface NodeHttp {
  api(path: string, call?: Call): Promise<HttpAnswer>
  gateway(path: string, call?: Call): Promise<HttpAnswer>
  /** PUT of content under a name. */
  put(name: string, body: string | Uint8Array, headers?: Readonly<Record<string, string>>): Promise<HttpAnswer>
}

/** Both listeners of a node, with its token for the API. */
export function httpOf({ node, token: own }: FullNode): NodeHttp {
  const api: NodeHttp['api'] = (path, { token = own, ...call } = {}) => {
    const authorization: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` }
    return ask(`${node.apiUrl}/api/v1${path}`, { ...call, headers: { ...authorization, ...call.headers } })
  }
  return {
    api,
    gateway: (path, call = {}) => ask(node.gatewayUrl + path, call),
    put: (name, body, headers = {}) => api(`/names/${name}`, { method: 'PUT', body, headers }),
  }
}

async function ask(url: string, { method = 'GET', headers = {}, body }: Call): Promise<HttpAnswer> {
  // As bytes: of text, fetch would say that it is text/plain.
  const content = body === undefined ? {} : { body: Buffer.from(body) }
  const reply = await fetch(url, { method, headers, redirect: 'manual', ...content })
  const bytes = Buffer.from(await reply.arrayBuffer())
  const text = bytes.toString()
  const isJson = /[/+]json/.test(reply.headers.get('content-type') ?? '') && text !== ''
  return { status: reply.status, headers: reply.headers, bytes, text, json: isJson ? JSON.parse(text) : undefined }
}
