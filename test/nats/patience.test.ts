import { expect, test } from 'vitest'
import { patiently } from '../../src/nats/patience.ts'
import { JetStreamRefusal } from '../../src/nats/publish.ts'
import { TransientError } from '../../src/nats/requests.ts'

const { signal } = new AbortController()

test('work that fails for the moment is tried again', async () => {
  let tries = 0
  const work = async () => {
    if (++tries < 3) throw new TransientError('not now')
    return tries
  }
  expect(await patiently(5_000, signal, work)).toBe(3)
})

test('without an end to it, it is STORE_UNAVAILABLE with its cause', async () => {
  const cause = new TransientError('not now')
  await expect(patiently(0, signal, () => Promise.reject(cause))).rejects.toMatchObject({
    code: 'STORE_UNAVAILABLE',
    cause,
  })
})

test('a full store is told at once', async () => {
  const full = new JetStreamRefusal(10047, 'insufficient storage', '$O.bucket.C.key')
  await expect(patiently(60_000, signal, () => Promise.reject(full))).rejects.toMatchObject({ code: 'STORE_FULL' })
})

test('an abort while it waits ends it with the reason of the abort', async () => {
  const leaving = new AbortController()
  const work = async () => {
    setImmediate(() => leaving.abort(new Error('the client left')))
    throw new TransientError('not now')
  }
  await expect(patiently(60_000, leaving.signal, work)).rejects.toThrow('the client left')
})
