import { AppError } from '../errors.ts'
import { urlText } from './subdomain.ts'

/** The `_redirects` file (https://specs.ipfs.tech/http-gateways/web-redirects-file/): `from to [status]` in each line. */
export const redirectsBytesMax = 64 * 1024
export const tooLarge = `redirects file size cannot exceed ${redirectsBytesMax} bytes`

const redirectStatuses = [301, 302, 303, 307, 308] as const
const pageStatuses = [404, 410, 451] as const
type RedirectStatus = (typeof redirectStatuses)[number]
type PageStatus = (typeof pageStatuses)[number]

/** What the first rule that matches says. */
export type Verdict =
  /** `location` is fit for a header. */
  | { readonly kind: 'redirect'; readonly status: RedirectStatus; readonly location: string }
  /** Answer with that content of the same root, as if it had been asked for (200) or as an error page. */
  | { readonly kind: 'content'; readonly status: 200 | PageStatus; readonly segments: readonly string[] }

type Part = { readonly kind: 'text' | 'placeholder'; readonly value: string }

export interface Rule {
  readonly from: readonly Part[]
  /** Whether anything may follow `from`: it ends in `*`. */
  readonly splat: boolean
  readonly to: string
  readonly status: 200 | RedirectStatus | PageStatus
}

/** @throws AppError REDIRECTS_INVALID that names the line */
export function parseRedirects(bytes: Uint8Array): readonly Rule[] {
  if (bytes.byteLength > redirectsBytesMax) throw redirectsInvalid(tooLarge)
  const lines = decoded(bytes).split('\n')
  return lines.flatMap((text, index) => {
    const fields = text.split(/[ \t\r\v\f]+/).filter((field) => field !== '')
    return fields.length === 0 || fields[0]?.startsWith('#') ? [] : [parseRule(fields, index + 1)]
  })
}

function decoded(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw redirectsInvalid('it is not UTF-8', cause)
  }
}

export function redirectsInvalid(why: string, cause?: unknown): AppError {
  return new AppError('REDIRECTS_INVALID', `could not parse _redirects: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'whoever publishes this site has to repair the file _redirects in its root',
  })
}

function parseRule(fields: readonly string[], line: number): Rule {
  const [from = '', to, status = '301', ...rest] = fields
  const fail = (why: string): never => {
    throw redirectsInvalid(`line ${line}: ${why}`)
  }
  if (to === undefined || rest.length > 0) return fail('a rule is: from to [status]')
  if (!from.startsWith('/')) fail('"from" does not begin with "/"')
  const splat = from.endsWith('*')
  const pattern = splat ? from.slice(0, -1) : from
  if (pattern.includes('*')) fail('an asterisk may stand only once, at the end of "from"')
  if (splat && !pattern.endsWith('/')) fail('the asterisk has to follow a "/"')
  const parts = segmentsOf(pattern).map(partOf)
  const names = parts.filter(({ kind }) => kind === 'placeholder').map(({ value }) => value)
  if (new Set(names).size < names.length) fail('a placeholder stands twice in "from"')
  if (names.some((name) => name === '' || name === 'splat')) fail('a placeholder has no name, or is called "splat"')
  if (status.endsWith('!')) fail('forced redirects (status with "!") are not supported')
  const known = ([200, ...redirectStatuses, ...pageStatuses] as const).find((each) => String(each) === status)
  if (known === undefined) return fail('the status is not one of 200, 301, 302, 303, 307, 308, 404, 410, 451')
  const isPath = to.startsWith('/') && !/^\/[/\\]/.test(to)
  // The host is written out: one that a visitor could choose would make an open redirect of the site.
  if (!isPath && !/^(https?|ipfs|ipns):\/\/[A-Za-z0-9._-]+(:\d+)?([/?#]|$)/i.test(to)) {
    fail('"to" is neither a path that begins with one "/" nor a URL of http, https, ipfs or ipns')
  }
  if (!isPath && !isRedirect(known)) fail(`with status ${known}, "to" is a path of this site`)
  return { from: parts, splat, to, status: known }
}

function isRedirect(status: number): status is RedirectStatus {
  return (redirectStatuses as readonly number[]).includes(status)
}

/** `/a/b/` and `/a/b` are the same: what is missing has no kind. */
function segmentsOf(pathname: string): readonly string[] {
  return pathname.split('/').filter((segment) => segment !== '')
}

function partOf(segment: string): Part {
  if (segment.startsWith(':')) return { kind: 'placeholder', value: segment.slice(1) }
  return { kind: 'text', value: decodedSegment(segment) }
}

function decodedSegment(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // An author may mean a percent sign.
    return text
  }
}

/**
 * @param segments of the path that is missing, decoded, below the root
 * @param search of the request; of a parameter in both, the value of the request wins
 */
export function matchRedirects(
  rules: readonly Rule[],
  segments: readonly string[],
  search: string,
): Verdict | undefined {
  for (const rule of rules) {
    const values = matchOf(rule, segments)
    if (values === undefined) continue
    const { status } = rule
    if (isRedirect(status)) return { kind: 'redirect', status, location: locationOf(rule.to, values, search) }
    const pathname = filledIn(rule.to.replace(/[?#].*$/, ''), values)
    return { kind: 'content', status, segments: segmentsOf(pathname).map(decodedSegment) }
  }
  return undefined
}

/** What placeholders stand for, escaped for a URL; undefined when the rule does not match. */
function matchOf({ from, splat }: Rule, segments: readonly string[]): ReadonlyMap<string, string> | undefined {
  if (splat ? segments.length <= from.length : segments.length !== from.length) return undefined
  const values = new Map<string, string>()
  for (const [index, { kind, value }] of from.entries()) {
    const segment = segments[index] ?? ''
    if (kind === 'placeholder') values.set(value, encodeURIComponent(segment))
    else if (value !== segment) return undefined
  }
  if (splat) values.set('splat', segments.slice(from.length).map(encodeURIComponent).join('/'))
  return values
}

/** Once, from left to right, the longest name first: a value that looks like a placeholder stays as it is. */
function filledIn(to: string, values: ReadonlyMap<string, string>): string {
  const names = [...values.keys()].sort((a, b) => b.length - a.length)
  if (names.length === 0) return to
  const pattern = names
    .map((name) => name.replace(/[^\w-]/g, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`))
    .join('|')
  return to.replace(new RegExp(`:(${pattern})`, 'gu'), (_, name: string) => values.get(name) ?? '')
}

function locationOf(to: string, values: ReadonlyMap<string, string>, search: string): string {
  const [, pathname = '', query = '', fragment = ''] = /^([^?#]*)(\?[^#]*)?(#.*)?$/.exec(filledIn(to, values)) ?? []
  const bytes = (text: string) => urlText(Buffer.from(text).toString('latin1'))
  // What is filled in may be empty: two slashes at the start would name another host.
  return `${bytes(pathname.replace(/^\/+/, '/'))}${bytes(merged(query, search))}${bytes(fragment)}`
}

function merged(query: string, search: string): string {
  if (search.length <= 1) return query
  if (query.length <= 1) return search
  const asked = new URLSearchParams(search)
  const own = [...new URLSearchParams(query)].filter(([key]) => !asked.has(key))
  return `?${new URLSearchParams([...own, ...asked])}`
}
