import type { CallOptions } from './client.ts'
import { jsonBody, type NodeCall } from './node-call.ts'
import { type Fields, fieldsOf, text, unexpected } from './reply-fields.ts'

/** A key that signs IPNS records, without what is private about it. */
export interface KeyReply {
  readonly label: string
  /** Its IPNS name. */
  readonly name: string
  /** The answer as it came, for `--json`. */
  readonly json: Fields
}

export interface KeysClient {
  /** @throws AppError REVISION_CONFLICT when there is one of this label */
  generate(label: string, options: CallOptions): Promise<KeyReply>
  import(label: string, pem: string, options: CallOptions): Promise<KeyReply>
  /** The private key in PEM, in clear. @throws AppError NAME_NOT_FOUND */
  export(label: string, options: CallOptions): Promise<string>
  list(options: CallOptions): Promise<readonly KeyReply[]>
  remove(label: string, options: CallOptions): Promise<void>
}

export function createKeysClient(call: NodeCall): KeysClient {
  const create = async (value: object, { signal }: CallOptions) =>
    keyReplyOf(await call.json({ method: 'POST', path: ['keys'], signal, ...jsonBody(value) }))
  return {
    generate: (label, options) => create({ label }, options),
    import: (label, pem, options) => create({ label, pem }, options),
    export: async (label, { signal }) =>
      text(fieldsOf(await call.json({ method: 'POST', path: [...keyPath(label), 'export'], signal })), 'pem'),
    list: async ({ signal }) => {
      const { keys } = fieldsOf(await call.json({ method: 'GET', path: ['keys'], signal }))
      if (!Array.isArray(keys)) throw unexpected('keys')
      return keys.map(keyReplyOf)
    },
    remove: async (label, { signal }) => {
      await call.json({ method: 'DELETE', path: keyPath(label), signal })
    },
  }
}

function keyReplyOf(value: unknown): KeyReply {
  const fields = fieldsOf(value)
  return { label: text(fields, 'label'), name: text(fields, 'name'), json: fields }
}

const keyPath = (label: string): readonly string[] => ['keys', label]
