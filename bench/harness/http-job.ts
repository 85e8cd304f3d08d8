/** What `http-client.ts` can be asked to do. */
export type HttpJob =
  | {
      readonly kind: 'upload'
      readonly url: string
      readonly headers: Readonly<Record<string, string>>
      /** Bytes of fresh random content, or a file. */
      readonly body: number | string
      /** Around the body, for multipart. */
      readonly before?: string
      readonly after?: string
    }
  | {
      readonly kind: 'download'
      readonly url: string
      readonly headers?: Readonly<Record<string, string>>
      /** A slow reader takes so much; default: as fast as it comes. */
      readonly bytesPerSecond?: number
      /** Where the body goes; default: nowhere. */
      readonly file?: string
    }
  | {
      readonly kind: 'requests'
      readonly url: string
      readonly connections: number
      readonly seconds: number
    }

export interface HttpResult {
  readonly seconds: number
  /** Of the body that was sent or received. */
  readonly bytes: number
  /** Of `requests`. */
  readonly count: number
  /** The reply to an upload. */
  readonly reply: string
}
