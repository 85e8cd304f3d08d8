import { Resolver } from 'node:dns/promises'
import { AppError } from '../errors.ts'
import { ByteLru } from '../lib/lru.ts'
import { KiB, MiB } from '../lib/units.ts'
import { unlessAborted } from '../lib/unless-aborted.ts'

/** What a domain name stands for, by the DNS: one hop (https://dnslink.dev). */
export interface DnsLink {
  /** `/ipfs/<cid>[/…]` or `/ipns/<name>[/…]`, not yet checked further. */
  readonly value: string
  /** How long the answer may be kept. */
  readonly ttlSeconds: number
}

export interface DnsLinksOptions {
  /** `example.org`, `*.example.org` (everything below it) or `*`; an empty list asks nobody. */
  readonly patterns: readonly string[]
  /** Addresses of DNS servers, with ports; undefined = those of the system. */
  readonly servers?: readonly string[]
  /** Of the first question; another one follows. */
  readonly timeoutMs?: number
  readonly now?: () => number
}

/** Node does not tell the TTL of TXT records, so answers are kept for as long as changes may well be late. */
const foundMs = 60_000
const absentMs = 10_000
const valueLengthMax = 2048
const timeoutMs = 2000
const tries = 2
/** At a time: whoever may make up hosts (`*`) makes up no more than these. */
const questionsMax = 256
const prefix = 'dnslink='

interface Kept {
  readonly link: DnsLink | undefined
  readonly untilMs: number
}

/** DNSLinks by TXT records. It asks DNS servers and nobody else; what they answer is a content path, never an address. */
export class DnsLinks {
  readonly #options: DnsLinksOptions
  readonly #now: () => number
  readonly #kept = new ByteLru<Kept>(MiB)
  readonly #underWay = new Map<string, Promise<DnsLink | undefined>>()

  constructor(options: DnsLinksOptions) {
    this.#options = options
    this.#now = options.now ?? performance.now.bind(performance)
  }

  /**
   * @param fqdn in lower case, without a dot at the end
   * @returns undefined when it has no DNSLink, or may not be looked up
   * @throws AppError IPNS_UNRESOLVED when the DNS does not answer, or with more than one; the signal's reason when aborted
   */
  async lookupDnsLink(fqdn: string, { signal }: { readonly signal: AbortSignal }): Promise<DnsLink | undefined> {
    if (!isAllowed(fqdn, this.#options.patterns)) return undefined
    const kept = this.#kept.get(fqdn)
    if (kept !== undefined && kept.untilMs > this.#now()) return kept.link
    return await unlessAborted(this.#underWay.get(fqdn) ?? this.#start(fqdn), signal)
  }

  /** One question for all who want to know; it ends by its own time-out, not with the first of them. */
  #start(fqdn: string): Promise<DnsLink | undefined> {
    if (this.#underWay.size >= questionsMax) return Promise.reject(unanswered(fqdn, 'too much is asked of it'))
    const answer = this.#ask(fqdn).finally(() => this.#underWay.delete(fqdn))
    this.#underWay.set(fqdn, answer)
    return answer
  }

  async #ask(fqdn: string): Promise<DnsLink | undefined> {
    const link = linkOf(fqdn, await this.#records(`_dnslink.${fqdn}`))
    const untilMs = this.#now() + (link === undefined ? absentMs : foundMs)
    this.#kept.set(fqdn, { link, untilMs }, 2 * (fqdn.length + (link?.value.length ?? 0)) + KiB)
    return link
  }

  async #records(name: string): Promise<readonly string[]> {
    const resolver = new Resolver({ timeout: this.#options.timeoutMs ?? timeoutMs, tries })
    if (this.#options.servers !== undefined) resolver.setServers(this.#options.servers)
    try {
      const records = await resolver.resolveTxt(name)
      return records.map((strings) => strings.join(''))
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code
      if (code === 'ENOTFOUND' || code === 'ENODATA') return []
      throw unanswered(name, 'it failed', cause)
    }
  }
}

function unanswered(name: string, why: string, cause?: unknown): AppError {
  return new AppError('IPNS_UNRESOLVED', `the DNS does not answer for ${name}: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'try again in a few seconds',
  })
}

function isAllowed(fqdn: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => {
    if (pattern === '*') return true
    return pattern.startsWith('*.') ? fqdn.endsWith(pattern.slice(1)) : fqdn === pattern
  })
}

function linkOf(fqdn: string, records: readonly string[]): DnsLink | undefined {
  const paths = new Set(
    records.filter((text) => text.startsWith(prefix)).map((text) => text.slice(prefix.length).trim()),
  )
  const [path, ...others] = [...paths].filter((text) => /^\/ip[fn]s\/[^/\p{Cc}][^\p{Cc}]*$/u.test(text))
  if (others.length > 0) {
    throw new AppError('IPNS_UNRESOLVED', `${fqdn} has more than one DNSLink`, {
      hint: `leave one TXT record at _dnslink.${fqdn}`,
    })
  }
  if (path === undefined || path.length > valueLengthMax) return undefined
  return { value: path, ttlSeconds: foundMs / 1000 }
}
