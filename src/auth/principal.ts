import { AppError } from '../errors.ts'

/** Who a request acts for. */
export interface Principal {
  readonly name: string
  /**
   * What it may say of whom its acts are for: nobody but itself, anybody, or anybody because nobody knows who it is and all
   * it says is a claim.
   */
  readonly kind: 'user' | 'admin' | 'anonymous'
}

export interface Auth {
  /**
   * Who sent this `Authorization` header.
   * @throws AppError UNAUTHORIZED, alike for a missing and a wrong one
   */
  authenticate(authorization: string | undefined): Promise<Principal>
}

/**
 * Whose command ids these are: an id that somebody else uses first is not taken from its owner. The admin's are used as they
 * are, and all whom nobody asked who they are share theirs.
 */
export function idScopeOf({ name, kind }: Principal): string | undefined {
  return kind === 'admin' ? undefined : name
}

/** Nobody was asked who it is; where that is so, events say `unauthenticated` beside the owner that was claimed. */
export const anonymous: Principal = { name: 'anonymous', kind: 'anonymous' }

/**
 * Whom an act is for, where the message names an owner.
 * @throws AppError FORBIDDEN when a user names another than itself
 */
export function ownerFor({ name, kind }: Principal, claimed: string | undefined): string {
  if (claimed === undefined || claimed === name || kind !== 'user') return claimed ?? name
  throw new AppError('FORBIDDEN', `the message names another owner than ${name}, who sent it`, {
    hint: 'leave the owner out; only an admin may act for others',
  })
}
