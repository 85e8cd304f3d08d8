import { expect, onTestFinished, test } from 'vitest'
import { ownerFor, type Principal } from '../../src/auth/principal.ts'
import { startApi } from '../support/api.ts'

test.each([
  ['user', undefined, 'ann'],
  ['user', 'ann', 'ann'],
  ['admin', undefined, 'ann'],
  ['admin', 'bob', 'bob'],
  ['anonymous', undefined, 'ann'],
  ['anonymous', 'bob', 'bob'],
] as const)('%s ann who names %s acts for %s', (kind, claimed, owner) => {
  expect(ownerFor({ name: 'ann', kind }, claimed)).toBe(owner)
})

test.each(['bob', 'Ann', 'ann ', 'admin'])('a user ann who names %j is refused', (claimed) => {
  expect(() => ownerFor({ name: 'ann', kind: 'user' }, claimed)).toThrow(
    expect.objectContaining({ code: 'FORBIDDEN', hint: expect.stringContaining('admin') }),
  )
})

test('over HTTP an owner other than who sent it is 403, unless an admin says so', async () => {
  const put = async (principal: Principal, owner: string) => {
    const { url } = await startApi(onTestFinished, { auth: { authenticate: async () => principal } })
    const reply = await fetch(`${url}/api/v1/objects`, {
      method: 'POST',
      body: 'x',
      headers: { 'stowage-owner': owner },
    })
    return [reply.status, ((await reply.json()) as { code?: string }).code]
  }
  expect(await put({ name: 'ann', kind: 'user' }, 'bob')).toEqual([403, 'forbidden'])
  expect(await put({ name: 'ann', kind: 'user' }, 'ann')).toEqual([201, undefined])
  expect(await put({ name: 'root', kind: 'admin' }, 'bob')).toEqual([201, undefined])
})
