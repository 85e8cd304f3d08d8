import { randomBytes } from 'node:crypto'
import type { TokenFile } from './token.ts'

/** What keys are sealed under, and how the node came by it. */
export type KeysSecret =
  | { readonly kind: 'given' | 'kept' | 'made' | 'renewed'; readonly secret: string }
  /** Nodes that share a NATS server have folders of their own, so without a given one they have none. */
  | { readonly kind: 'none'; readonly secret: undefined }
  /** There are sealed keys and no file, or an empty one: with another secret they could never be opened again. */
  | { readonly kind: 'lost'; readonly secret: undefined }

/**
 * What keys are sealed under: the one that was given, or one of this data folder, made at the first start. An empty file (a power
 * cut left them once) is made anew as long as nothing was sealed.
 * @param file undefined = there is none for this node
 * @param hasKeys whether any key is sealed already @throws AppError DATA_FOLDER_UNUSABLE
 */
export async function settleKeysSecret(
  given: string | undefined,
  file: Pick<TokenFile, 'read' | 'write'> | undefined,
  hasKeys: () => Promise<boolean>,
): Promise<KeysSecret> {
  if (given !== undefined) return { kind: 'given', secret: given }
  if (file === undefined) return { kind: 'none', secret: undefined }
  const kept = await file.read()
  if (kept !== undefined && kept !== '') return { kind: 'kept', secret: kept }
  if (await hasKeys()) return { kind: 'lost', secret: undefined }
  const made = randomBytes(32).toString('base64url')
  await file.write(made)
  return { kind: kept === undefined ? 'made' : 'renewed', secret: made }
}
