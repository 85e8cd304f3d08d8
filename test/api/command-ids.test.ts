import { randomUUID } from 'node:crypto'
import { expect, onTestFinished, test } from 'vitest'
import { startFullNode } from '../support/full-node.ts'

test('an id of a command is kept or refused by every route that changes something, and never ignored', async () => {
  const { node, token } = await startFullNode(onTestFinished, {
    env: { STOWAGE_KEYS_SECRET: 'a secret of some length' },
  })
  const call = async (method: string, path: string, id: string, body?: string) => {
    const headers = { authorization: `Bearer ${token}`, 'idempotency-key': id }
    const init = { method, headers, ...(body === undefined ? {} : { body }) }
    const reply = await fetch(`${node.apiUrl}/api/v1/${path}`, init)
    const { code, name } = (await reply.json()) as { code?: string; name?: string }
    return { status: reply.status, code, name, repeated: reply.headers.get('stowage-repeated') }
  }
  const id = randomUUID()
  const made = await call('POST', 'keys', id, '{"label":"a"}')
  expect(made).toMatchObject({ status: 201, repeated: null })
  expect(await call('POST', 'keys', id, '{"label":"a"}')).toEqual({ ...made, repeated: 'true' })
  expect(await call('POST', 'keys', id, '{"label":"b"}')).toMatchObject({ status: 409, code: 'command_id_taken' })
  expect(await call('POST', 'keys', randomUUID(), '{"label":"a"}')).toMatchObject({ status: 412 })
  const refusing = [
    ['DELETE', 'keys/a'],
    ['POST', 'index/rebuild'],
    ['POST', 'log/accept-loss?restore=true'],
    ['POST', 'scrub'],
    ['POST', 'missing'],
  ] as const
  for (const [method, path] of refusing) {
    const refused = await call(method, path, randomUUID())
    expect([path, refused]).toEqual([path, expect.objectContaining({ status: 400, code: 'request_invalid' })])
  }
  const { keys } = (await (
    await fetch(`${node.apiUrl}/api/v1/keys`, { headers: { authorization: `Bearer ${token}` } })
  ).json()) as { keys: { label: string }[] }
  expect(keys.map(({ label }) => label)).toEqual(['a'])
})
