import { connect } from '@nats-io/transport-node'
import { expect, test } from 'vitest'
import { startTestNats } from '../support/nats.ts'

test('the test server is a real one with the payload limit that was asked for', async ({ onTestFinished }) => {
  const nats = await startTestNats({ maxPayload: '1MB' })
  onTestFinished(nats.stop)
  const connection = await connect({ servers: nats.url })
  onTestFinished(() => connection.close())
  expect(connection.info).toMatchObject({ jetstream: true, max_payload: 1024 * 1024 })
})
