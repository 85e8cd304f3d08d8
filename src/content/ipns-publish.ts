import type { Abortable } from '../blocks/blockstore.ts'
import { AppError, isAppError } from '../errors.ts'
import type { Context } from '../events/envelope.ts'
import type { IpnsBinding, IpnsEntry } from '../names/ipns-entry.ts'
import { checkName } from '../names/name.ts'
import type { NameEntry } from '../names/name-entry.ts'
import type { Names } from '../names/names.ts'
import { type ChangeIpns, type IpnsOutcome, type IpnsPlan, recordStep } from './ipns-commands.ts'
import type { IpnsKeys, Signer } from './ipns-keys.ts'
import { signIpnsRecord } from './ipns-sign.ts'

export interface PublishOptions {
  /** A key's label or name. */
  readonly key: string
  /** How long a record holds; it is signed anew before. */
  readonly lifetimeSeconds: number
  readonly ttlSeconds: number
}

export interface IpnsPublisher {
  /**
   * Binds a name to a key: the key's record points to what the name stands for, with the name's revision as its sequence,
   * now and after each change. @throws AppError NAME_NOT_FOUND (name or key), REQUEST_INVALID
   */
  publish(context: Context, name: string, options: PublishOptions & Abortable): Promise<IpnsOutcome>
  /**
   * Signs anew where the name has changed since, or the record has lived for half of its time; otherwise nothing.
   * @returns whether there was something to do
   */
  renew(context: Context, entry: IpnsEntry, options: Abortable): Promise<boolean>
}

export interface PublisherParts {
  readonly names: Names
  readonly keys: IpnsKeys
  readonly change: ChangeIpns
  readonly resolveName: (name: string, options: Abortable) => Promise<NameEntry>
}

const lifetimeSecondsMax = 366 * 24 * 3600

export function createIpnsPublisher({ names, keys, change, resolveName }: PublisherParts): IpnsPublisher {
  const planOf =
    (signer: Signer, named: NameEntry, binding: IpnsBinding, isDue: (entry: IpnsEntry | null) => boolean): IpnsPlan =>
    (head) => {
      const now = head.last?.entry ?? null
      if (!isDue(now)) return undefined
      const value = `/ipfs/${named.cid}`
      const record = signIpnsRecord(signer, {
        value,
        sequence: nextSequence(BigInt(head.last?.sequence ?? -1), BigInt(named.revision), now?.value === value),
        ...binding,
      })
      return recordStep(head, record, binding)
    }

  const signerOf = (name: string, signal: AbortSignal): Promise<Signer | undefined> =>
    keys.signer(name, { signal }).catch((error: unknown) => {
      if (isAppError(error, 'NAME_NOT_FOUND')) return undefined
      throw error
    })

  return {
    async publish(context, name, { key, lifetimeSeconds, ttlSeconds, signal }) {
      checkTimes(lifetimeSeconds, ttlSeconds)
      checkName(name)
      const signer = await keys.signer(key, { signal })
      const named = await resolveName(name, { signal })
      const binding = { name: named.name, revision: named.revision, lifetimeSeconds, ttlSeconds }
      const plan = planOf(signer, named, binding, () => true)
      const asked = { binding: name, lifetimeSeconds, ttlSeconds }
      return change(context, 'publish', signer.name, { plan, asked }, { signal })
    },

    async renew(context, { name, binding }, { signal }) {
      if (binding === null) return false
      const named = await names.index.get(binding.name, signal)
      // What was removed is published no longer than its last record holds.
      if (named === undefined) return false
      const isDue = (now: IpnsEntry | null) => now !== null && isRenewable(now, named)
      const current = await names.ipns.get(name, signal)
      if (current === undefined || !isDue(current)) return false
      const signer = await signerOf(name, signal)
      // Who removes a key means that nothing more is signed by it.
      if (signer === undefined) return false
      const next = { ...binding, revision: named.revision }
      const plan = planOf(signer, named, next, isDue)
      const outcome = await change(context, 'publish', name, { plan, asked: { renewal: named.revision } }, { signal })
      return outcome.sequence !== undefined
    },
  }
}

/** Its name has changed since, or half of its life is over. */
function isRenewable({ binding, validity }: IpnsEntry, named: NameEntry): boolean {
  if (binding === null || binding.name !== named.name) return false
  if (named.revision > binding.revision) return true
  const leftMs = Date.parse(validity ?? '') - Date.now()
  return !(leftMs > (binding.lifetimeSeconds * 1000) / 2)
}

/**
 * The name's revision, which grows with every change. A key that had a higher one elsewhere goes on from there; the same
 * value again keeps its sequence, and counts for it holds longer.
 */
function nextSequence(highest: bigint, revision: bigint, sameValue: boolean): bigint {
  if (revision > highest) return revision
  return sameValue ? highest : highest + 1n
}

function checkTimes(lifetimeSeconds: number, ttlSeconds: number): void {
  if (!(lifetimeSeconds >= 60 && lifetimeSeconds <= lifetimeSecondsMax)) {
    throw new AppError('REQUEST_INVALID', `the lifetime of a record is 60 to ${lifetimeSecondsMax} seconds`)
  }
  if (ttlSeconds >= 0 && ttlSeconds <= lifetimeSeconds) return
  throw new AppError('REQUEST_INVALID', 'the ttl of a record is 0 seconds to its lifetime')
}
