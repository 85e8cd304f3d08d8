import { randomBytes } from 'node:crypto'
import type { TokenFile } from './token.ts'

/**
 * What keys are sealed under: the one that was given, or one of this data folder, made at the first start. Nodes that share a
 * NATS server have folders of their own, so without a given one they have none. @throws AppError DATA_FOLDER_UNUSABLE
 */
export async function settleKeysSecret(
  given: string | undefined,
  file: Pick<TokenFile, 'read' | 'write'> | undefined,
): Promise<string | undefined> {
  if (given !== undefined || file === undefined) return given
  const kept = await file.read()
  if (kept !== undefined) return kept
  const made = randomBytes(32).toString('base64url')
  await file.write(made)
  return made
}
