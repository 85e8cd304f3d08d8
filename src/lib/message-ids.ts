/** An id that fits a header, a subject of CloudEvents and a log line; undefined for what is none. */
export function correlationOf(text: string | readonly string[] | undefined): string | undefined {
  return typeof text === 'string' && /^[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,127}$/.test(text) ? text : undefined
}

/** W3C Trace Context, version 00 and those after it. Undefined for a broken one: tracing must not fail a request. */
export function traceparentOf(text: string | readonly string[] | undefined): string | undefined {
  if (typeof text !== 'string' || text.length > 256) return undefined
  const match = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/.exec(text)
  if (match === null || /^0+$/.test(match[1] ?? '') || /^0+$/.test(match[2] ?? '')) return undefined
  return text
}
