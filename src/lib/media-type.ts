/** What a type and its parameters are written with (RFC 9110 §5.6.2 and §5.6.4); beyond ASCII nobody agrees what the bytes mean. */
const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const quoted = '"(?:[\\t\\x20\\x21\\x23-\\x5b\\x5d-\\x7e]|\\\\[\\t\\x20-\\x7e])*"'
const form = new RegExp(`^(${token}/${token})(?:[ \\t]*;[ \\t]*(?:${token}=(?:${token}|${quoted}))?)*$`)

/** Most bytes of a media type: no type that is registered comes near it. */
export const mediaTypeLengthMax = 255

/**
 * `text/html` of `Text/HTML; charset=utf-8`: type and subtype in lower case, without parameters. Undefined for what is no
 * media type by RFC 9110 §8.3.1, white space around it and lists of several included: to browsers these mean many things.
 */
export function essenceOf(text: string): string | undefined {
  if (text.length > mediaTypeLengthMax) return undefined
  return form.exec(text)?.[1]?.toLowerCase()
}

export const octetStream = 'application/octet-stream'

/** What is kept of older versions may be no media type, or not even fit a header. */
export function servedType(kept: string | null | undefined): string {
  return kept === null || kept === undefined || essenceOf(kept) === undefined ? octetStream : kept
}
