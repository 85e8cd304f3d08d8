import type { Abortable } from '../blocks/blockstore.ts'
import { contentPath, type PathOptions } from '../dag/path.ts'
import type { ContentPath } from '../dag/target.ts'
import { AppError, isAppError } from '../errors.ts'
import { ByteLru } from '../lib/lru.ts'
import { MiB } from '../lib/units.ts'
import type { IpnsEntry } from '../names/ipns-entry.ts'
import { isName } from '../names/name.ts'
import type { Names } from '../names/names.ts'
import { findIpns } from './ipns-commands.ts'
import { type IpnsName, parseIpnsName } from './ipns-name.ts'
import { hasExpired, type IpnsRecord, readIpnsRecord } from './ipns-record.ts'
import { type IpnsValue, parseIpnsValue } from './ipns-value.ts'

export { type IpnsName, parseIpnsName } from './ipns-name.ts'

/** Names on the way to content; one that leads to itself ends here too. */
export const hopsMax = 32
/** What somebody else's record says about keeping it is believed up to a week. */
const ttlSecondsMax = 7 * 24 * 3600

export interface ResolvedIpns {
  readonly path: ContentPath
  /** The least of all hops, and no longer than a record holds; undefined = one of them does not say. */
  readonly maxAgeSeconds: number | undefined
}

export interface IpnsResolver {
  /**
   * What the name stands for now.
   * @throws AppError NAME_INVALID, PATH_INVALID (more than 32 names on the way), IPNS_UNRESOLVED (nothing is known of it,
   * or its record does not hold any more)
   */
  resolve(name: IpnsName, options: Abortable): Promise<ResolvedIpns>
  /** Whether anything is known of the name itself, be it good for something or not. @throws AppError IPNS_UNRESOLVED */
  isKnown(name: IpnsName, options: Abortable): Promise<boolean>
  /** The record of a key, verified. @throws AppError IPNS_UNRESOLVED */
  record(
    name: IpnsName,
    options: Abortable,
  ): Promise<{ readonly bytes: Uint8Array; readonly maxAgeSeconds: number | undefined }>
}

/** What DNS says of a domain; undefined = it has no DNSLink. */
export type LookupDnsLink = (
  domain: string,
  options: Abortable,
) => Promise<{ readonly value: string; readonly ttlSeconds: number | undefined } | undefined>

export interface IpnsResolverParts {
  readonly names: Names
  readonly limits: PathOptions
  /** Undefined = DNS is not asked. */
  readonly lookupDnsLink?: LookupDnsLink
  /** Asked for each name on the way, before it is looked up. @throws AppError when it is not to be served */
  readonly checkName?: (name: string, below: readonly string[]) => void
}

/** One name looked up. */
interface Hop {
  readonly value: string
  readonly ttlSeconds: number | undefined
}

export function createIpnsResolver({ names, limits, lookupDnsLink, checkName }: IpnsResolverParts): IpnsResolver {
  const records = new VerifiedRecords()

  async function lookUp(name: IpnsName, signal: AbortSignal): Promise<Hop> {
    const hop = await find(name, signal)
    if (hop !== undefined) return hop
    throw unresolved(name, name.kind === 'key' ? 'no record of it is here' : 'it has no DNSLink here')
  }

  async function find(name: IpnsName, signal: AbortSignal): Promise<Hop | undefined> {
    const entry = await findIpns(names, name.name, signal)
    if (name.kind === 'key') {
      if (entry === undefined) return undefined
      const record = records.read(entry, name)
      return { value: record.value, ttlSeconds: maxAgeOf(record) }
    }
    if (entry !== undefined) return { value: entry.value, ttlSeconds: entry.ttlSeconds ?? undefined }
    const named = isName(name.name) ? await names.index.get(name.name, signal) : undefined
    if (named !== undefined) return { value: `/ipfs/${named.cid}`, ttlSeconds: undefined }
    return await lookupDnsLink?.(name.name, { signal })
  }

  return {
    async resolve(asked, { signal }) {
      let name = asked
      let below: readonly string[] = []
      let maxAgeSeconds: number | undefined = ttlSecondsMax
      for (let hop = 0; hop < hopsMax; hop++) {
        checkName?.(name.name, below)
        const { value, ttlSeconds } = await lookUp(name, signal)
        // One that does not say makes the whole unknown.
        maxAgeSeconds =
          ttlSeconds === undefined || maxAgeSeconds === undefined ? undefined : Math.min(maxAgeSeconds, ttlSeconds)
        const next = parsedValue(name, value, limits)
        if (next.kind === 'content') {
          const { root, segments } = next.path
          return { path: contentPath(root, [...segments, ...below], limits), maxAgeSeconds }
        }
        below = [...next.segments, ...below]
        name = next.name
      }
      throw new AppError('PATH_INVALID', `${asked.name} leads to more than ${hopsMax} names, perhaps to itself`)
    },

    isKnown: async (name, { signal }) => (await find(name, signal)) !== undefined,

    async record(name, { signal }) {
      checkName?.(name.name, [])
      const entry = name.kind === 'key' ? await findIpns(names, name.name, signal) : undefined
      if (name.kind !== 'key' || entry === undefined) throw unresolved(name, 'no record of it is here')
      const record = records.read(entry, name)
      return { bytes: record.bytes, maxAgeSeconds: maxAgeOf(record) }
    },
  }
}

/** For whoever has the text after `/ipns/` and wants the path of the content. */
export function ipnsPathOf(resolver: Pick<IpnsResolver, 'resolve'>) {
  return async (text: string, options: Abortable): Promise<ContentPath> =>
    (await resolver.resolve(parseIpnsName(text), options)).path
}

/** Verifying a signature costs more than all the rest: one that was verified is known by its bytes. */
class VerifiedRecords {
  readonly #known = new ByteLru<IpnsRecord>(4 * MiB)

  /** @throws AppError IPNS_UNRESOLVED when it is not valid, or not any more */
  read({ record: text }: IpnsEntry, name: Extract<IpnsName, { kind: 'key' }>): IpnsRecord {
    const id = `${name.name} ${text ?? ''}`
    const known = this.#known.get(id) ?? verified(name, text)
    this.#known.set(id, known, 2 * id.length + known.bytes.byteLength)
    if (hasExpired(known)) throw unresolved(name, `its record has expired (${known.validity})`)
    return known
  }
}

function verified(name: Extract<IpnsName, { kind: 'key' }>, text: string | null): IpnsRecord {
  try {
    return readIpnsRecord(Buffer.from(text ?? '', 'base64'), name.multihash)
  } catch (cause) {
    throw unresolved(name, 'its record is not valid', cause)
  }
}

function maxAgeOf({ ttlSeconds, validUntilMs }: IpnsRecord): number | undefined {
  if (ttlSeconds === undefined) return undefined
  const leftSeconds = Math.max(0, Math.floor((validUntilMs - Date.now()) / 1000))
  return Math.min(ttlSeconds, ttlSecondsMax, leftSeconds)
}

function parsedValue(name: IpnsName, value: string, limits: PathOptions): IpnsValue {
  try {
    return parseIpnsValue(value, limits)
  } catch (cause) {
    throw unresolved(name, 'what it points to is no path of content', cause)
  }
}

function unresolved(name: IpnsName, why: string, cause?: unknown): AppError {
  return new AppError('IPNS_UNRESOLVED', `/ipns/${name.name} cannot be resolved: ${why}`, {
    ...(isAppError(cause) ? { cause } : {}),
    hint: 'check the name; what it stands for is published with `stowage ipns`',
  })
}
