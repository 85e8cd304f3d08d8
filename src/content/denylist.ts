import { base32 } from 'multiformats/bases/base32'
import { base58btc } from 'multiformats/bases/base58'
import type { CID } from 'multiformats/cid'
import { digestOf, multihashKey } from '../blocks/block.ts'
import { AppError } from '../errors.ts'
import { type DenyLine, type DenyRule, domainOf, keyMultihash, type PathPattern, type Ruling } from './deny-rule.ts'

interface PathRuling extends Ruling {
  readonly pattern: PathPattern
}

/** Rulings of hashed rules as one number each, since lists of them have hundreds of thousands. */
const denyBit = 1
const legalBit = 2
const bits = 4
const sha256Code = 0x12

/**
 * What must not be served, by rules of the compact denylist format. Of all rules that match, the last one counts, and it may
 * be one that allows. A CID stands for its multihash, in whatever codec.
 */
export class Denylist {
  readonly #byMultihash = new Map<string, PathRuling[]>()
  readonly #byKey = new Map<string, PathRuling[]>()
  readonly #byDomain = new Map<string, PathRuling[]>()
  /** By multihash code, then by digest. */
  readonly #hashed = new Map<number, Map<string, number>>()
  readonly #legacy = new Map<string, number>()
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Later lines beat earlier ones. `legal`: what the list as a whole says of its denials, unless the line says otherwise. */
  add({ rules, deny, hints }: DenyLine, legal: boolean): void {
    const status = hints.get('gateway_status')
    const ruling = { order: ++this.#size, deny, legal: status === undefined ? legal : status === '451' }
    for (const rule of rules) this.#addRule(rule, ruling)
  }

  #addRule(rule: DenyRule, ruling: Ruling): void {
    if (rule.kind === 'hashed') {
      const packed = ruling.order * bits + (ruling.deny ? denyBit : 0) + (ruling.legal ? legalBit : 0)
      const table = rule.legacy ? this.#legacy : (this.#hashed.get(rule.code) ?? new Map<string, number>())
      if (!rule.legacy) this.#hashed.set(rule.code, table)
      table.set(latin1(rule.digest), packed)
      return
    }
    const { pattern } = rule
    const [table, key] =
      rule.kind === 'domain'
        ? [this.#byDomain, rule.domain]
        : [rule.kind === 'key' ? this.#byKey : this.#byMultihash, latin1(rule.multihash)]
    const rulings = table.get(key)
    if (rulings === undefined) table.set(key, [{ ...ruling, pattern }])
    else rulings.push({ ...ruling, pattern })
  }

  /** `/ipfs/<cid>/<segments>` itself, as the format defines it: a rule for a CID alone does not speak of paths below it. */
  rulingOfPath(cid: CID, segments: readonly string[]): Ruling | undefined {
    if (this.#size === 0) return undefined
    const path = segments.join('/')
    const named = lastMatch(this.#byMultihash.get(multihashKey(cid)), path)
    return later(named, this.#hashedRuling(cid, path))
  }

  /** `/ipns/<name>/<segments>` itself, before anything is resolved. */
  rulingOfName(name: string, segments: readonly string[]): Ruling | undefined {
    if (this.#size === 0) return undefined
    const path = segments.join('/')
    const below = path === '' ? '' : `/${path}`
    const multihash = keyMultihash(name)
    if (multihash !== undefined) {
      const named = lastMatch(this.#byKey.get(latin1(multihash)), path)
      return later(named, this.#modern(bareBase58(multihash) + below))
    }
    const domain = name.includes('.') ? domainOf(name) : uninlined(name.toLowerCase())
    const named = lastMatch(this.#byDomain.get(domain), path)
    return later(named, later(this.#modern(`/ipns/${domain}${below}`), this.#legacyRuling(`${domain}/${path}`)))
  }

  /**
   * Whether a block may be handed out at all, on whichever way it is met. What is denied below a CID only, or with
   * exceptions, is for `rulingOfPath` to judge.
   */
  rulingOfBlock(cid: CID): Ruling | undefined {
    const ruling = this.rulingOfPath(cid, [])
    if (ruling?.deny !== true) return ruling
    const rulings = this.#byMultihash.get(multihashKey(cid)) ?? []
    const excepted = rulings.some(({ deny, order, pattern }) => !deny && order > ruling.order && pattern.path !== '')
    return excepted ? undefined : ruling
  }

  #hashedRuling(cid: CID, path: string): Ruling | undefined {
    if (this.#hashed.size === 0 && this.#legacy.size === 0) return undefined
    const modern = this.#modern(bareBase58(cid.multihash.bytes) + (path === '' ? '' : `/${path}`))
    return later(modern, this.#legacyRuling(`${cid.toV1().toString(base32)}/${path}`))
  }

  #modern(text: string): Ruling | undefined {
    let found: Ruling | undefined
    for (const [code, table] of this.#hashed) {
      const digest = digestOf(code, Buffer.from(text))
      if (digest !== undefined) found = later(found, unpacked(table.get(latin1(digest))))
    }
    return found
  }

  #legacyRuling(text: string): Ruling | undefined {
    if (this.#legacy.size === 0) return undefined
    const digest = digestOf(sha256Code, Buffer.from(text))
    return digest === undefined ? undefined : unpacked(this.#legacy.get(latin1(digest)))
  }
}

/** What is asked of the lists that are in force now. @throws AppError CONTENT_DENIED | CONTENT_DENIED_LEGALLY */
export class Denials {
  #list = new Denylist()

  /** The list takes effect for everything from here on. */
  use(list: Denylist): void {
    this.#list = list
  }

  checkBlock(cid: CID): void {
    if (this.#list.size > 0) check(this.#list.rulingOfBlock(cid))
  }

  /** The path and its root: a denied root denies what lies below it, but for exceptions that come later in the list. */
  checkPath(cid: CID, segments: readonly string[]): void {
    const list = this.#list
    if (list.size === 0) return
    check(later(list.rulingOfPath(cid, segments), list.rulingOfPath(cid, [])))
  }

  /** @param name a key in any spelling, or a domain name, also as it is written in a subdomain */
  checkName(name: string, segments: readonly string[]): void {
    const list = this.#list
    if (list.size === 0) return
    check(later(list.rulingOfName(name, segments), list.rulingOfName(name, [])))
  }
}

function check(ruling: Ruling | undefined): void {
  if (ruling?.deny !== true) return
  throw ruling.legal
    ? new AppError('CONTENT_DENIED_LEGALLY', 'this content is not served here, for legal reasons')
    : new AppError('CONTENT_DENIED', 'this content is not served here')
}

function later(a: Ruling | undefined, b: Ruling | undefined): Ruling | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return a.order >= b.order ? a : b
}

function lastMatch(rulings: readonly PathRuling[] | undefined, path: string): Ruling | undefined {
  return rulings?.findLast(({ pattern }) => (pattern.prefix ? path.startsWith(pattern.path) : path === pattern.path))
}

function unpacked(packed: number | undefined): Ruling | undefined {
  if (packed === undefined) return undefined
  const flags = packed % bits
  return { order: Math.floor(packed / bits), deny: (flags & denyBit) !== 0, legal: (flags & legalBit) !== 0 }
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')

/** Without a multibase prefix. */
const bareBase58 = (bytes: Uint8Array): string => base58btc.encode(bytes).slice(1)

/** A domain name as one label of a subdomain has it: `-` for `.`, `--` for `-`. */
function uninlined(label: string): string {
  return label.replace(/--|-/g, (dashes) => (dashes === '--' ? '-' : '.'))
}
