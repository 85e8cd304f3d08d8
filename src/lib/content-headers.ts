import { AppError } from '../errors.ts'

/** The value of a header by its lower-case name; several are one list, as HTTP joins them. */
export type HeaderOf = (name: string) => string | undefined

/**
 * Refuses content that its headers say is not what it looks like: a part of something, or encoded. Stored as it comes it
 * would be taken for the whole, and replace it.
 * @throws AppError REQUEST_INVALID | MEDIA_TYPE_UNSUPPORTED
 */
export function refuseOtherContent(header: HeaderOf): void {
  // RFC 9110 §14.5: a PUT with Content-Range is to be refused where parts cannot be put.
  if (header('content-range') !== undefined) throw partial('Content-Range')
  const offset = header('upload-offset')
  if (offset !== undefined && offset.trim() !== '0') throw partial('Upload-Offset')
  if (header('upload-complete')?.trim() === '?0') throw partial('Upload-Complete: ?0')
  // Its name in the drafts of resumable uploads that clients of 2023 have (URLSession).
  if (header('upload-incomplete')?.trim() === '?1') throw partial('Upload-Incomplete: ?1')
  if (header('tus-resumable') !== undefined) throw partial('Tus-Resumable')
  for (const [name, plain] of codings) {
    const applied = (header(name) ?? '').split(',').map((coding) => coding.trim().toLowerCase())
    if (applied.every((coding) => coding === '' || coding === plain)) continue
    throw new AppError('MEDIA_TYPE_UNSUPPORTED', `the content has a ${titleOf(name)} that is not taken off here`, {
      hint: 'send it as it is to be stored',
    })
  }
}

/** Codings that leave the content as it is. */
const codings = [
  ['content-encoding', 'identity'],
  ['transfer-encoding', 'chunked'],
] as const

const titleOf = (name: string) => name.replaceAll(/(^|-)[a-z]/g, (letters) => letters.toUpperCase())

const partial = (what: string) =>
  new AppError('REQUEST_INVALID', `${what}: content is taken as a whole, not in parts`, {
    hint: 'send all of it in one request, from its beginning (curl: without -C)',
  })
