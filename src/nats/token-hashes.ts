import { JetStreamApiError } from '@nats-io/jetstream'
import { type KV, Kvm } from '@nats-io/kv'
import { AppError } from '../errors.ts'
import type { Nats } from './connection.ts'
import { lookAtStream } from './kv-stream.ts'
import { kvStream, tokenBucket } from './layout.ts'
import { lastMessageAtLeader } from './leader-get.ts'

const wrongLastSequence = 10071

/**
 * SHA-256 hashes of tokens, in hex, in KV `<domain>_tokens`. With replicas they are read at the leader: a follower that lags
 * behind would refuse a new token and take the old one.
 * @throws AppError STORE_UNAVAILABLE, from every method too
 */
export async function openTokenHashes(nats: Nats, domain: string, replicas: number) {
  const size = nats.sizes.bytesOf('kv', { replicas })
  const asking = <T>(work: () => Promise<T>) => askingFor(nats, kvStream(tokenBucket(domain)), work)
  const bounds = size === undefined ? {} : { max_bytes: size }
  const make = () => asking(() => new Kvm(nats.js).create(tokenBucket(domain), { history: 5, replicas, ...bounds }))
  const kv = await make()
  const lookUp = replicas > 1 ? atLeader(nats, tokenBucket(domain)) : directly(kv)
  return {
    /** Makes the bucket where somebody has deleted it, empty. */
    makeAnew: async () => void (await make()),
    get: (id: string) => asking(() => lookUp(id)),
    set: (id: string, hash: string) => asking(async () => void (await kv.put(id, hash))),
    create: (id: string, hash: string) =>
      asking(async () => {
        const present = await lookUp(id)
        if (present !== undefined) return present
        try {
          await kv.create(id, hash)
          return hash
        } catch (error) {
          if (!(error instanceof JetStreamApiError) || error.code !== wrongLastSequence) throw error
          return (await lookUp(id)) ?? hash
        }
      }),
  }
}

type LookUp = (id: string) => Promise<string | undefined>

function directly(kv: KV): LookUp {
  return async (id) => {
    const entry = await kv.get(id)
    return entry === null || entry.operation !== 'PUT' ? undefined : entry.string()
  }
}

/** What was removed has an empty value. */
function atLeader(nats: Nats, bucket: string): LookUp {
  return async (id) => {
    const message = await lastMessageAtLeader(nats, kvStream(bucket), `$KV.${bucket}.${id}`)
    return message === undefined || message.data.byteLength === 0 ? undefined : Buffer.from(message.data).toString()
  }
}

/** Work on the bucket, with a reason that says what to do about it. */
async function askingFor<T>(nats: Nats, stream: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    const isGone = await lookAtStream(nats, stream).then(
      (look) => look === undefined,
      () => false,
    )
    throw isGone
      ? new AppError('STORE_UNAVAILABLE', `the KV bucket of tokens is gone (stream ${stream})`, {
          cause,
          hint: 'somebody deleted it: the node makes it again within seconds, and the admin token stays the same',
        })
      : new AppError('STORE_UNAVAILABLE', 'the token store does not answer', {
          cause,
          hint: 'try again in a moment; see stowage doctor',
        })
  }
}
