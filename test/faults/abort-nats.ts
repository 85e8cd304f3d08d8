import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { connect, headers, type NatsConnection } from '@nats-io/transport-node'
import { createNatsClient, type NatsClient } from '../../src/comms/client.ts'
import { commandSubject, commands, queries, querySubject, queueSubject } from '../../src/comms/protocol.ts'
import { oneOf } from '../support/random.ts'
import type { Content } from './abort-requests.ts'

const subjects = { domain: 'stowage', space: 'main' }
const partBytes = 100_000

/** What a client of NATS begins and does not see through. */
export interface NatsAbort {
  readonly name: string
  run(random: () => number): Promise<void>
}

/** Requests whose asker is gone, transfers that are left halfway, connections that end in the middle of it. */
export function natsAborts(natsUrl: string, { folder, file }: Content): NatsAbort[] {
  const leaving =
    (work: (connection: NatsConnection, client: NatsClient, random: () => number) => Promise<unknown>) =>
    async (random: () => number) => {
      const connection = await connect({ servers: natsUrl, reconnect: false, timeout: 30_000 })
      try {
        const client = createNatsClient(connection, { headers, timeoutMs: 1_000 + random() * 2_000 })
        // What it comes to is nobody's business any more.
        await work(connection, client, random).catch(() => undefined)
      } finally {
        await connection.close()
      }
    }
  const asked: NatsAbort[] = [
    ...queries.map((verb) => ({ name: `query ${verb}`, subject: querySubject(subjects, verb), body: folder })),
    ...commands.map((verb) => ({ name: `command ${verb}`, subject: commandSubject(subjects, verb), body: 'abort' })),
    { name: 'queued put', subject: queueSubject(subjects, 'put'), body: 'abort' },
  ].map(({ name, subject, body }) => ({
    name,
    run: leaving(async (connection, _client, random) => {
      const inbox = `_INBOX.${randomUUID()}`
      const subscription = connection.subscribe(inbox)
      connection.publish(subject, body, { reply: inbox })
      if (random() < 0.5) await connection.flush()
      if (random() < 0.5) subscription.unsubscribe()
      await delay(random() * 50)
    }),
  }))
  const parts = async function* (count: number, failAt: number) {
    for (let part = 0; part < count; part++) {
      if (part === failAt) throw new Error('the source fails')
      yield Buffer.alloc(partBytes, part)
    }
  }
  return [
    ...asked,
    {
      name: 'get left halfway',
      run: leaving(async (_connection, client, random) => {
        const { body } = await client.get(`${folder}/big`)
        let left = 1 + Math.floor(random() * 20)
        for await (const _ of body) if (--left === 0) break
      }),
    },
    {
      name: 'get without more credit',
      run: leaving(async (_connection, client, random) => {
        const { body } = await client.get(`${folder}/big`)
        const iterator = body[Symbol.asyncIterator]()
        await iterator.next()
        await delay(random() * 200)
      }),
    },
    {
      name: 'get of a connection that ends',
      run: leaving(async (connection, client, random) => {
        const getting = client.get(random() < 0.5 ? `${folder}/big` : file).then(async ({ body }) => {
          for await (const _ of body);
        })
        getting.catch(() => undefined)
        await delay(random() * 60)
        await connection.close()
      }),
    },
    {
      name: 'put that its client gives up',
      run: leaving((_connection, client, random) => client.put(parts(12, Math.floor(random() * 12)))),
    },
    {
      name: 'put of a connection that ends',
      run: leaving(async (connection, client, random) => {
        const putting = client.put(parts(30, -1), {}, oneOf(random, ['put', 'import']))
        putting.catch(() => undefined)
        await delay(random() * 100)
        await connection.close()
      }),
    },
  ]
}
