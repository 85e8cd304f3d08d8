// Version 1.2.2 has types, and does not say where.
declare module '@web3-storage/car-block-validator' {
  import type { CID } from 'multiformats/cid'

  /** @throws Error when the bytes do not hash to the CID */
  export function validateBlock(block: { readonly cid: CID; readonly bytes: Uint8Array }): Promise<void>
}
