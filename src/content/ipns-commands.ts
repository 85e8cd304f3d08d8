import type { Abortable } from '../blocks/blockstore.ts'
import type { PathOptions } from '../dag/path.ts'
import { AppError, isAppError } from '../errors.ts'
import { type Json, link } from '../events/canonical.ts'
import type { Context } from '../events/envelope.ts'
import type { Reach } from '../lib/crash-point.ts'
import { KeyedLock } from '../lib/keyed-lock.ts'
import { type IpnsBinding, type IpnsEntry, ipnsKey } from '../names/ipns-entry.ts'
import type { IpnsHead } from '../names/ipns-index.ts'
import type { Names } from '../names/names.ts'
import { idTaken } from './command-id.ts'
import { type CommandLog, type Commit, failureKey, type Recorded, type Step } from './command-log.ts'
import { parseIpnsName } from './ipns-name.ts'
import { hasExpired, type IpnsRecord, readIpnsRecord } from './ipns-record.ts'
import { parseIpnsValue } from './ipns-value.ts'

export type { IpnsBinding, IpnsEntry } from '../names/ipns-entry.ts'

export interface IpnsOutcome {
  /** As it stands now; null for what was removed. */
  readonly entry: IpnsEntry | null
  /** Of the event; undefined when there was nothing to change. */
  readonly sequence: number | undefined
  readonly repeated: boolean
}

export interface IpnsPage {
  readonly entries: readonly IpnsEntry[]
  readonly next: string | undefined
}

/** What stands below `/ipns/`: signed records of keys, and DNSLinks of our own. */
export interface IpnsVerbs {
  /**
   * Takes a record of a key as it is. One of a lower sequence than any before is refused; of the same sequence the one that
   * holds longer counts.
   * @throws AppError NAME_INVALID | IPNS_INVALID (also: expired) | REVISION_CONFLICT (a newer one is here)
   */
  importRecord(context: Context, name: string, bytes: Uint8Array, options: Abortable): Promise<IpnsOutcome>
  /**
   * What a domain name stands for, by our word. @throws AppError NAME_INVALID | IPNS_INVALID | CID_INVALID | PATH_INVALID
   */
  setDnsLink(
    context: Context,
    domain: string,
    link: { readonly value: string; readonly ttlSeconds: number | null },
    options: Abortable,
  ): Promise<IpnsOutcome>
  /** A key's highest sequence is not forgotten. @throws AppError NAME_INVALID | NAME_NOT_FOUND */
  removeIpns(context: Context, name: string, options: Abortable): Promise<IpnsOutcome>
  /** @throws AppError NAME_INVALID | NAME_NOT_FOUND */
  getIpns(name: string, options: Abortable): Promise<IpnsEntry>
  /** In the order of their names; `cursor` is the last one of the page before. */
  listIpns(options: Abortable & { readonly limit: number; readonly cursor?: string }): Promise<IpnsPage>
}

export interface IpnsCommandParts {
  readonly names: Names
  readonly commands: CommandLog
  readonly limits: PathOptions
  readonly reach: Reach
}

/** Undefined: what is there stays. */
export type IpnsPlan = (head: IpnsHead) => Step | undefined

export interface IpnsChange {
  readonly plan: IpnsPlan
  /** All that is asked for, beside the name. */
  readonly asked: { readonly [key: string]: Json }
}

/** Carries out one change of one IPNS name. */
export type ChangeIpns = (
  context: Context,
  verb: string,
  name: string,
  change: IpnsChange,
  options: Abortable,
) => Promise<IpnsOutcome>

const attemptsMax = 100

export function createChangeIpns({ names, commands, reach }: IpnsCommandParts): ChangeIpns {
  const lock = new KeyedLock()
  return async (context, verb, name, { plan, asked }, { signal }) => {
    let kept: IpnsEntry | null = null
    const attempt = async (commit: Commit): Promise<readonly Recorded[]> => {
      const head = await names.ipns.head(name, signal)
      const step = plan(head)
      reach('ipns-decided')
      if (step !== undefined) return commit([step], (at) => reach(`ipns-${at}`))
      kept = head.last?.entry ?? null
      return []
    }
    const { events, repeated } = await commands.carryOut(context, {
      failure: { entity: 'ipns', verb, key: failureKey(ipnsKey(name)), subject: name },
      filters: () => [names.ipns.filter(name)],
      signal,
      asked: () => ({ verb: `ipns ${verb}`, name, ...asked }),
      work: (commit) => lock.run([name], () => withRetries(() => attempt(commit))),
    })
    const [first] = events
    if (first === undefined) return { entry: kept, sequence: undefined, repeated }
    const [effect] = first.effects
    if (effect?.kind !== 'ipns') {
      throw idTaken()
    }
    return { entry: effect.entry, sequence: first.sequence, repeated }
  }
}

/** The log's own refusal has a cause: somebody was faster. What the plan refuses would be refused again. */
async function withRetries<T>(attempt: () => Promise<T>): Promise<T> {
  for (let left = attemptsMax; ; left--) {
    try {
      return await attempt()
    } catch (error) {
      const faster = isAppError(error, 'REVISION_CONFLICT') && error.cause !== undefined
      if (!faster || left <= 1) throw error
    }
  }
}

export function createIpnsVerbs(parts: IpnsCommandParts, change: ChangeIpns): IpnsVerbs {
  const { names, limits } = parts
  return {
    async importRecord(context, text, bytes, options) {
      const name = keyOf(text)
      const record = readIpnsRecord(bytes, name.multihash)
      if (hasExpired(record)) throw new AppError('IPNS_INVALID', `the record has expired (${record.validity})`)
      parseIpnsValue(record.value, limits)
      const plan: IpnsPlan = (head) => recordStep(head, record, null)
      const asked = { record: Buffer.from(bytes).toString('base64') }
      return change(context, 'publish', name.name, { plan, asked }, options)
    },
    async setDnsLink(context, domain, { value, ttlSeconds }, options) {
      const { name, kind } = parseIpnsName(domain)
      if (kind !== 'domain')
        throw new AppError('IPNS_INVALID', 'only a record of its key can say what a key stands for')
      parseIpnsValue(value, limits)
      const plan: IpnsPlan = (head) => {
        const now = head.last?.entry
        if (now?.value === value && now.ttlSeconds === ttlSeconds) return undefined
        return step(head, 'published', { kind: 'dnslink', value, ttlSeconds, ...contentOf(value, limits) })
      }
      return change(context, 'publish', name, { plan, asked: { value, ttlSeconds } }, options)
    },
    async removeIpns(context, text, options) {
      const { name } = parseIpnsName(text)
      const plan: IpnsPlan = (head) => {
        if (!head.last?.entry) throw nothingPublished(name)
        return step(head, 'removed', { sequence: head.last.sequence })
      }
      return change(context, 'remove', name, { plan, asked: {} }, options)
    },
    async getIpns(text, { signal }) {
      const { name } = parseIpnsName(text)
      const entry = await findIpns(names, name, signal)
      if (entry === undefined) throw nothingPublished(name)
      return entry
    },
    async listIpns({ limit, cursor, signal }) {
      const page = await names.ipns.list.page('', limit, cursor, signal)
      return { entries: await names.ipns.getMany(page.names, signal), next: page.next }
    },
  }
}

/** What the index does not know may be in the log all the same, when a crash came between. */
export async function findIpns(names: Names, name: string, signal: AbortSignal): Promise<IpnsEntry | undefined> {
  return (await names.ipns.get(name, signal)) ?? (await names.ipns.head(name, signal)).last?.entry ?? undefined
}

/** @throws AppError NAME_INVALID | IPNS_INVALID */
export function keyOf(text: string) {
  const name = parseIpnsName(text)
  if (name.kind === 'key') return name
  throw new AppError('IPNS_INVALID', `a domain name (${name.name}) has no signed record`)
}

/**
 * The event of a record, if it counts more than what is there.
 * @throws AppError REVISION_CONFLICT when a newer one is or was there
 */
export function recordStep(head: IpnsHead, record: IpnsRecord, binding: IpnsBinding | null): Step | undefined {
  const { sequence, validity, value, ttlSeconds, bytes } = record
  const highest = BigInt(head.last?.sequence ?? -1)
  if (sequence < highest) {
    throw new AppError('REVISION_CONFLICT', `a record of sequence ${highest} was here; this one has ${sequence}`, {
      hint: 'publish it anew with a higher sequence',
    })
  }
  const now = head.last?.entry
  const keeps = now?.validity && sequence === highest && Date.parse(now.validity) >= record.validUntilMs
  if (keeps && binding === null) return undefined
  return step(head, 'published', {
    kind: 'record',
    value,
    sequence: String(sequence),
    validity,
    ttlSeconds: ttlSeconds ?? null,
    record: Buffer.from(bytes).toString('base64'),
    ...(binding === null ? {} : { binding: { ...binding } }),
    ...contentOf(value, undefined),
  })
}

/** A link from the event to the content, where the value is one. */
function contentOf(value: string, limits: PathOptions = { pathSegmentsMax: 10_000 }) {
  const parsed = parseIpnsValue(value, limits)
  return parsed.kind === 'content' ? { cid: link(parsed.path.root.toV1()) } : {}
}

function step(head: IpnsHead, verb: 'published' | 'removed', data: Step['draft']['data']): Step {
  const { name, expect } = head
  const whole = { name, ...data, previous: expect.lastSequence }
  return { draft: { entity: 'ipns', verb, key: ipnsKey(name), subject: name, data: whole }, expect }
}

function nothingPublished(name: string): AppError {
  return new AppError('NAME_NOT_FOUND', `nothing is published for ${name} here`)
}
