/**
 * Text from outside (names, messages) for a terminal: control characters, escape sequences and marks that turn the
 * direction of writing are shown as `\u{…}`, so that a name cannot act on the terminal or look like another.
 */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  )
}
