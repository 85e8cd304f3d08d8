/** What `nats-client.ts` can be asked to do. Every job that writes makes a stream of its own. */
export type NatsJob =
  | { readonly kind: 'publish'; readonly url: string; readonly bytes: number; readonly stream: string }
  | { readonly kind: 'batches'; readonly url: string; readonly blocks: number; readonly stream: string }
  | { readonly kind: 'direct-get'; readonly url: string; readonly bytes: number; readonly stream: string }

/** What `obj-client.ts` and `blocks-client.ts` can be asked to do. */
export type StoreJob =
  | { readonly kind: 'put'; readonly url: string; readonly bucket: string; readonly bytes: number }
  | {
      readonly kind: 'put-small' | 'get-small'
      readonly url: string
      readonly bucket: string
      readonly count: number
      readonly atOnce: number
    }

export interface JobResult {
  readonly seconds: number
}
