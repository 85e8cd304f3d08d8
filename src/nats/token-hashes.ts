import { JetStreamApiError } from '@nats-io/jetstream'
import { type KV, Kvm } from '@nats-io/kv'
import { AppError } from '../errors.ts'
import type { Nats } from './connection.ts'
import { tokenBucket } from './layout.ts'

const wrongLastSequence = 10071

/** SHA-256 hashes of tokens, in hex, in KV `<domain>_tokens`. @throws AppError STORE_UNAVAILABLE, from every method too */
export async function openTokenHashes(nats: Nats, domain: string, replicas: number) {
  const kv = await asking(() => new Kvm(nats.js).create(tokenBucket(domain), { history: 5, replicas }))
  return {
    get: (id: string) => asking(() => lookUp(kv, id)),
    set: (id: string, hash: string) => asking(async () => void (await kv.put(id, hash))),
    create: (id: string, hash: string) =>
      asking(async () => {
        const present = await lookUp(kv, id)
        if (present !== undefined) return present
        try {
          await kv.create(id, hash)
          return hash
        } catch (error) {
          if (!(error instanceof JetStreamApiError) || error.code !== wrongLastSequence) throw error
          return (await lookUp(kv, id)) ?? hash
        }
      }),
  }
}

async function lookUp(kv: KV, id: string): Promise<string | undefined> {
  const entry = await kv.get(id)
  return entry === null || entry.operation !== 'PUT' ? undefined : entry.string()
}

async function asking<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw new AppError('STORE_UNAVAILABLE', 'the token store does not answer', { cause: error })
  }
}
