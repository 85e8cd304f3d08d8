import { createHash } from 'node:crypto'
import { carV1, node, raw } from '../support/cars.ts'
import { tar } from '../support/tar.ts'
import type { Content } from './abort-requests.ts'

/** The same bytes for the same seed, no two blocks alike. */
function bytesOf(seed: string, bytes: number): Buffer {
  return createHash('shake256', { outputLength: bytes }).update(seed).digest()
}

const boundary = 'abort-boundary'

function multipart(parts: readonly { readonly name: string; readonly body: Uint8Array }[]): Buffer {
  const part = ({ name, body }: (typeof parts)[number]) => [
    Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="${name}"\r\n\r\n`),
    body,
    Buffer.from('\r\n'),
  ]
  return Buffer.concat([...parts.flatMap(part), Buffer.from(`--${boundary}--\r\n`)])
}

const leaves = [raw(bytesOf('leaf 1', 60_000)), raw(bytesOf('leaf 2', 3_000))]
const root = node(leaves)

/** A body of each kind, small ones and some that do not fit into what a socket holds; the last one is a CAR. */
export const uploads: readonly { readonly kind: string; readonly type: string; readonly body: Uint8Array }[] = [
  { kind: 'bytes', type: 'application/octet-stream', body: bytesOf('few', 2_000) },
  { kind: 'many bytes', type: 'application/octet-stream', body: bytesOf('many', 2_500_000) },
  { kind: 'text', type: 'text/plain', body: Buffer.from('plain text '.repeat(2_000)) },
  { kind: 'form', type: 'application/x-www-form-urlencoded', body: Buffer.from('a=1&b=2') },
  {
    kind: 'multipart',
    type: `multipart/form-data; boundary=${boundary}`,
    body: multipart([
      { name: 'a.txt', body: Buffer.from('a') },
      { name: 'b/c.bin', body: bytesOf('part', 400_000) },
    ]),
  },
  {
    kind: 'tar',
    type: 'application/x-tar',
    body: tar({ path: 'a.txt', content: 'a' }, { path: 'b/c.bin', content: bytesOf('entry', 400_000) }),
  },
  { kind: 'car', type: 'application/vnd.ipld.car', body: carV1([root.cid], [root, ...leaves]) },
]

const entries = 300

/** Puts what the requests are about. @throws Error with the answer when something is refused */
export async function putContent(apiUrl: string, token: string): Promise<Content> {
  const call = async (method: string, path: string, body?: Uint8Array | string, type = 'application/json') => {
    const reply = await fetch(`${apiUrl}/api/v1/${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': type },
      ...(body === undefined ? {} : { body: body instanceof Uint8Array ? Uint8Array.from(body) : body }),
    })
    const text = await reply.text()
    if (!reply.ok) throw new Error(`${method} ${path}: ${reply.status} ${text}`)
    return JSON.parse(text) as Record<string, string>
  }
  const folder = tar(
    { path: 'big', content: bytesOf('big', 3_500_000) },
    { path: 'index.html', content: '<h1>index</h1>' },
    ...Array.from({ length: entries }, (_, index) => ({ path: `many/${index}`, content: `entry ${index}` })),
  )
  const { cid = '' } = await call('PUT', 'names/abort/site', folder, 'application/x-tar').then(cidOf)
  const file = await call('POST', 'objects', bytesOf('file', 100_000), 'application/octet-stream')
  await call('POST', 'keys', JSON.stringify({ label: 'abort' }))
  const { name = '' } = await call('POST', 'ipns', JSON.stringify({ publish: { name: 'abort/site', key: 'abort' } }))
  return { folder: cid, file: file.cid ?? '', key: name, token }
}

const cidOf = (reply: Record<string, unknown>) => ({ cid: String(reply.cid) })
