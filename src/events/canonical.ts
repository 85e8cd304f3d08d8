/** What an event's data may hold; a CID is `link(cid)`. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json | undefined }

/** A link in DAG-JSON: the event log is IPLD data, with links from events to content. */
export function link(cid: { toString(): string }): { readonly '/': string } {
  return { '/': cid.toString() }
}

/**
 * Canonical DAG-JSON (sorted keys, no white space): the same value is always the same bytes, so an event has one CID.
 * It is JSON.stringify over sorted keys; a test compares it with @ipld/dag-json, which is ten times slower.
 * @throws TypeError for numbers that JSON cannot hold
 */
export function canonicalJson(value: Json): string {
  return JSON.stringify(sorted(value))
}

function sorted(value: Json): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new TypeError(`${value} is no JSON number`)
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(sorted)
  const record = value as { readonly [key: string]: Json | undefined }
  const result: [string, unknown][] = []
  for (const key of Object.keys(record).sort()) {
    const field = record[key]
    if (field !== undefined) result.push([key, sorted(field)])
  }
  return Object.fromEntries(result)
}
