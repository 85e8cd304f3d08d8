import { adminId, type TokenHashes } from './token.ts'

/** A store of hashes that can be lost under a node that runs. */
export interface LosableHashes extends TokenHashes {
  /** Makes it where it is missing, empty. @throws AppError STORE_UNAVAILABLE */
  makeAnew(): Promise<void>
}

/**
 * Remembers which hash was valid last, so that the admin is not locked out where somebody deletes the store: the same token is valid
 * again, and never one that was seen to be replaced (it is looked every few seconds). Where this node knows of none, nobody gets in.
 * @throws AppError STORE_UNAVAILABLE
 */
export async function keepHashes(hashes: LosableHashes) {
  let last: string | undefined
  const seen = async (): Promise<void> => {
    // Nothing there is no news: it may just have been made anew by another node.
    last = (await hashes.get(adminId)) ?? last
  }
  await seen()
  return {
    seen,
    /** @returns how it is now @throws AppError STORE_UNAVAILABLE */
    restore: async (): Promise<string> => {
      await hashes.makeAnew()
      if (last === undefined)
        return 'it is there again, without a token: a node that knows the admin token writes its hash'
      last = await hashes.create(adminId, last)
      return 'it is there again, and the admin token is valid as before'
    },
  }
}
