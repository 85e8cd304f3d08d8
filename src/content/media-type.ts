import { AppError } from '../errors.ts'
import { essenceOf } from '../lib/media-type.ts'

/** Checks the media type of content that comes in: once in the log it is served for ever. @throws AppError REQUEST_INVALID */
export function checkMediaType(text: string | null | undefined): void {
  if (text === null || text === undefined || essenceOf(text) !== undefined) return
  throw new AppError('REQUEST_INVALID', `${JSON.stringify(text.slice(0, 100))} is no media type`, {
    hint: 'one type, without white space around it, like text/plain; charset=utf-8',
  })
}
