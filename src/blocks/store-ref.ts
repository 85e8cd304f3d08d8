/** A store is a set of bucket shards at a site. */
export interface StoreRef {
  readonly site: string
  readonly store: string
}

export const storeKey = ({ site, store }: StoreRef): string => `${site}/${store}`
