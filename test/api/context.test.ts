import { randomUUID } from 'node:crypto'
import Fastify from 'fastify'
import { expect, test } from 'vitest'
import { contextOf } from '../../src/api/context.ts'
import type { Context } from '../../src/content/verbs.ts'
import { isUuid } from '../../src/lib/uuid.ts'

async function contextFrom(headers: Record<string, string>): Promise<Context> {
  const app = Fastify()
  app.get('/', async (request, reply) => contextOf(request, reply))
  const { statusCode, body } = await app.inject({ url: '/', headers })
  expect(statusCode).toBe(200)
  return JSON.parse(body) as Context
}

test('an id that was made here is known to be new, so that nobody looks for an earlier command', async () => {
  const context = await contextFrom({})
  expect(context.fresh).toBe(true)
  expect(isUuid(context.id)).toBe(true)
})

test.each(['stowage-command-id', 'idempotency-key'])(
  'an id from %s is looked up, whatever else is sent',
  async (header) => {
    const id = randomUUID()
    const context = await contextFrom({ [header]: id, 'stowage-correlation-id': 'c-1' })
    expect(context).toMatchObject({ id, correlation: 'c-1' })
    expect(context.fresh ?? false).toBe(false)
  },
)
