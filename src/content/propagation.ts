import type { CID } from 'multiformats/cid'

/** How far a root has spread, in short: what goes with every answer about it while its policy is not met. */
export interface CopyCount {
  /** Verified, in reach, where the rule allows them. */
  readonly verified: number
  readonly wanted: number
  /** The policy is not met: what was read may not last, and other sites may not have it. */
  readonly provisional: boolean
}

/** What a put waits for after it is done here: nothing more, what the policy wants, or so many copies. */
export type AckLevel = 'local' | 'policy' | number

export interface Wish {
  /** Undefined = as the rule for the content says. */
  readonly level: AckLevel | undefined
  /** Undefined = as long as the settings allow. */
  readonly timeoutMs: number | undefined
}

export interface Settled {
  readonly level: AckLevel
  /** False = the time was over before; the put is done all the same. */
  readonly met: boolean
  /** Copies as they are now; undefined where nobody looked, or nobody could. */
  readonly count: CopyCount | undefined
}

/** What an entrance tells with content. */
export interface Propagation {
  /**
   * What there is to tell of a root: undefined where its policy is met, where no policy was ever set, and for what was never
   * put here. Mostly known at once; never fails.
   * @param rootCid CIDv1 base32
   */
  tell(rootCid: string): CopyCount | undefined | Promise<CopyCount | undefined>
  /** Waits after a put until as many copies are verified as are wished for, or the time is over. @throws the signal's reason */
  settle(root: CID, wish: Wish, options: { readonly signal: AbortSignal }): Promise<Settled>
}

/** The same names on HTTP and NATS. */
export const propagationHeader = {
  provisional: 'Stowage-Provisional',
  /** `2/3`: verified, wanted. */
  copies: 'Stowage-Copies',
} as const

/** `policy`, `local` or a number of copies; undefined for what is none of these. */
export function ackLevelOf(text: string): AckLevel | undefined {
  if (text === 'local' || text === 'policy') return text
  return /^[1-9]\d?$/.test(text) ? Number(text) : undefined
}

export const copiesText = ({ verified, wanted }: CopyCount): string => `${verified}/${wanted}`

/** Of a reply about content whose policy is not met; nothing otherwise. */
export function propagationHeaders(count: CopyCount | undefined): Readonly<Record<string, string>> {
  if (count === undefined || !count.provisional) return {}
  return { [propagationHeader.provisional]: 'true', [propagationHeader.copies]: copiesText(count) }
}

/** The same as fields of a JSON reply. */
export function propagationFields(count: CopyCount | undefined) {
  if (count === undefined) return {}
  const { verified, wanted, provisional } = count
  return { provisional, copies: { verified, wanted } }
}
