import type { Names } from '../names/names.ts'
import { createIpnsKeys, type IpnsKeys } from './ipns-keys.ts'
import { createIpnsPublisher, type IpnsPublisher, type PublisherParts } from './ipns-publish.ts'
import { IpnsRepublisher } from './ipns-republisher.ts'

/** Keys, what they sign, and the worker that signs again. */
export interface Publishing {
  readonly keys: IpnsKeys
  readonly publisher: IpnsPublisher
  /** These names have changed. */
  namesChanged(names: readonly string[]): void
  close(): Promise<void>
}

export interface PublishingParts extends Omit<PublisherParts, 'keys'> {
  readonly names: Names
  /** Undefined = no key can be unsealed here, and nothing is signed. */
  readonly secret: string | undefined
  readonly sweepMs?: number
  /** A record could not be signed anew; it is tried again. */
  readonly onFailure?: (error: unknown) => void
}

export function createPublishing({ secret, sweepMs, onFailure, ...parts }: PublishingParts): Publishing {
  const { names } = parts
  const isIdUsed = async (id: string, signal: AbortSignal) => (await names.outcomes.find(id, signal)) !== undefined
  const keys = createIpnsKeys({ store: names.keys, secret, domain: names.source.domain, isIdUsed })
  const publisher = createIpnsPublisher({ ...parts, keys })
  if (!keys.usable) return { keys, publisher, namesChanged: () => undefined, close: async () => undefined }
  const bindings = names.watchBindings()
  const options = { ...(sweepMs === undefined ? {} : { sweepMs }), ...(onFailure === undefined ? {} : { onFailure }) }
  const worker = new IpnsRepublisher({ bindings, publisher, ...options })
  return {
    keys,
    publisher,
    namesChanged: (changed) => worker.namesChanged(changed),
    close: async () => {
      await worker.close()
      await bindings.close()
    },
  }
}
