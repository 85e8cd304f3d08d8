import { base58btc } from 'multiformats/bases/base58'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { digestOf } from '../blocks/block.ts'
import { parseCid } from '../dag/cid.ts'

/** What a rule says of whatever it matches. */
export interface Ruling {
  /** Its place in all lists: of several that match, the last one counts. */
  readonly order: number
  readonly deny: boolean
  /** Of a denial: for legal reasons (451, else 410). */
  readonly legal: boolean
}

/** Decoded, without a slash at either end; `prefix`: and whatever begins like it. */
export interface PathPattern {
  readonly path: string
  readonly prefix: boolean
}

/** Whose multihash, domain name or hash it is; see `parseDenyRule`. */
export type DenyRule =
  | { readonly kind: 'cid'; readonly multihash: Uint8Array; readonly pattern: PathPattern }
  | { readonly kind: 'key'; readonly multihash: Uint8Array; readonly pattern: PathPattern }
  | { readonly kind: 'domain'; readonly domain: string; readonly pattern: PathPattern }
  /** Hashes of what is denied, by multihash code; `legacy` ones are over another text. */
  | { readonly kind: 'hashed'; readonly code: number; readonly digest: Uint8Array; readonly legacy: boolean }

/** A line of a denylist, taken apart. */
export interface DenyLine {
  readonly rules: readonly DenyRule[]
  readonly deny: boolean
  /** The hints of the line itself: `key:value`. */
  readonly hints: ReadonlyMap<string, string>
}

const sha256Code = 0x12
const domainPattern = /^(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?$/i

/**
 * A block item of the compact denylist format, version 1 (IPIP-383).
 * @see https://specs.ipfs.tech/compact-denylist-format/
 * @throws Error that says what is wrong with the line; AppError for its CID
 */
export function parseDenyLine(line: string): DenyLine {
  const [item = '', ...hints] = line.trim().split(/\s+/)
  const deny = !item.startsWith('!')
  const text = deny ? item : item.slice(1)
  return { rules: parseItem(text), deny, hints: parseHints(hints) }
}

function parseItem(text: string): readonly DenyRule[] {
  if (text.startsWith('//')) return hashedRules(text.slice(2))
  const [, namespace, name = '', ...rest] = text.split('/')
  if (!text.startsWith('/') || name === '') throw new Error('it is no rule')
  const pattern = patternOf(rest.join('/'))
  switch (namespace) {
    case 'ipfs':
      return [{ kind: 'cid', multihash: parseCid(name).multihash.bytes, pattern }]
    case 'ipns':
      return [nameRule(name, pattern)]
    default:
      throw new Error('rules begin with /ipfs/, /ipns/ or //')
  }
}

function nameRule(name: string, pattern: PathPattern): DenyRule {
  const multihash = keyMultihash(name)
  if (multihash !== undefined) return { kind: 'key', multihash, pattern }
  if (!domainPattern.test(name)) throw new Error('what follows /ipns/ is neither a key nor a domain name')
  return { kind: 'domain', domain: domainOf(name), pattern }
}

/** In lower case, without the dot of the root. */
export function domainOf(name: string): string {
  return name.toLowerCase().replace(/\.$/, '')
}

/** The multihash of a key as CID or peer id; undefined when the text is neither. */
export function keyMultihash(name: string): Uint8Array | undefined {
  if (name.includes('.') || name.length > 300) return undefined
  try {
    if (/^(1|Qm)/.test(name)) return Digest.decode(base58btc.decode(`z${name}`)).bytes
    return CID.parse(name).multihash.bytes
  } catch {
    return undefined
  }
}

/** `ab*` and `ab/*` both mean whatever begins with `ab`; `/*` alone, everything. */
function patternOf(encoded: string): PathPattern {
  const prefix = encoded.endsWith('*')
  return { path: decodeURIComponent(prefix ? encoded.slice(0, -1) : encoded).replace(/\/+$/, ''), prefix }
}

/** A text that can be read both ways is taken both ways, as the specification demands. */
function hashedRules(text: string): DenyRule[] {
  const rules: DenyRule[] = []
  if (/^[0-9a-f]{64}$/i.test(text)) {
    rules.push({ kind: 'hashed', code: sha256Code, digest: Buffer.from(text, 'hex'), legacy: true })
  }
  if (/^[1-9A-HJ-NP-Za-km-z]{20,200}$/.test(text)) {
    const multihash = base58Multihash(text)
    if (multihash !== undefined) rules.push({ kind: 'hashed', ...multihash, legacy: false })
  }
  if (rules.length === 0) throw new Error('what follows // is neither a multihash in base58 nor a SHA-256 in hex')
  return rules
}

function base58Multihash(text: string): { readonly code: number; readonly digest: Uint8Array } | undefined {
  try {
    const { code, digest } = Digest.decode(base58btc.decode(`z${text}`))
    const whole = digestOf(code, new Uint8Array())
    return whole !== undefined && whole.byteLength === digest.byteLength ? { code, digest } : undefined
  } catch {
    return undefined
  }
}

function parseHints(parts: readonly string[]): ReadonlyMap<string, string> {
  const hints = new Map<string, string>()
  for (const part of parts) {
    const colon = part.indexOf(':')
    if (colon > 0) hints.set(part.slice(0, colon), part.slice(colon + 1))
  }
  return hints
}
