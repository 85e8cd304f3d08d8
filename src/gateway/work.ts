import { Work } from '../http/work.ts'
import type { ContentRequest } from './request.ts'

/** A request for content, as far as it is known. */
export class ContentWork extends Work {
  /** Undefined until it is known to be for content. */
  request: ContentRequest | undefined
  format: string | undefined
}
