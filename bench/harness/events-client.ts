import { DeliverPolicy, jetstream } from '@nats-io/jetstream'
import { connect, headers } from '@nats-io/transport-node'
import { readConfig } from '../../src/config.ts'
import { encodeEvent } from '../../src/events/envelope.ts'
import { EventLog } from '../../src/events/log.ts'
import { uuidv7 } from '../../src/lib/uuid.ts'
import { connectNats } from '../../src/nats/connection.ts'
import { openEventStream } from '../../src/nats/event-stream.ts'
import type { EventsJob, EventsResult } from './events-job.ts'
import { inTurn } from './in-turn.ts'
import { silent } from './silent.ts'

const job = JSON.parse(process.argv[2] ?? '{}') as EventsJob
const config = readConfig({}, { DOMAIN: job.domain })
const nats = await connectNats(job.url, config.nats, silent)
const stream = await openEventStream(nats, config.layout)
const source = { domain: job.domain, site: config.layout.site, space: 'main', node: 'bench' }
const latencies = job.kind === 'latency' ? await visibility() : []
const started = performance.now()
if (job.kind === 'group') await group()
if (job.kind === 'single') await single()
const result: EventsResult = { seconds: (performance.now() - started) / 1000, latencies }
console.log(JSON.stringify(result))
await nats.close()

/** An event of the size that `name.set` has. */
function event(index: number) {
  const id = uuidv7()
  const context = {
    id,
    correlation: id,
    causation: undefined,
    owner: 'bench',
    principal: 'admin',
    via: 'http',
    traceparent: undefined,
  } as const
  const data = {
    name: `bench/${index}`,
    cid: { '/': 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku' },
    size: index,
    mediaType: 'text/plain',
    previous: 0,
  }
  const draft = { entity: 'name', verb: 'set', key: `bench.${index}`, subject: `bench/${index}`, data } as const
  return encodeEvent(draft, context, source, id)
}

async function group(): Promise<void> {
  const log = new EventLog(nats, stream, 10_000)
  await inTurn(job.count, job.atOnce, async (index) => {
    await log.append([{ event: event(index) }])
  })
}

/** The same events, each a publish of its own through nats.js. */
async function single(): Promise<void> {
  const connection = await connect({ servers: job.url })
  const js = jetstream(connection)
  await inTurn(job.count, job.atOnce, async (index) => {
    const { id, natsSubject, payload } = event(index)
    const own = headers()
    own.set('Nats-Msg-Id', id)
    await js.publish(natsSubject, payload, { headers: own })
  })
  await connection.close()
}

/**
 * Milliseconds from an event's acknowledgement until a consumer of the log has it. (A plain subscription would have it
 * before it is stored, and would also have what the log refused.)
 */
async function visibility(): Promise<number[]> {
  const log = new EventLog(nats, stream, 10_000)
  const follower = await connect({ servers: job.url })
  const seen = new Map<string, number>()
  const consumer = await jetstream(follower).consumers.get(stream, { deliver_policy: DeliverPolicy.New })
  const messages = await consumer.consume({
    callback: (message) => {
      // `<site>:<event id>`.
      seen.set(message.headers?.get('Nats-Msg-Id').split(':').at(-1) ?? '', performance.now())
    },
  })
  const acked: [string, number][] = []
  await inTurn(job.count, job.atOnce, async (index) => {
    const one = event(index)
    await log.append([{ event: one }])
    acked.push([one.id, performance.now()])
  })
  while (seen.size < job.count) await new Promise((resolve) => setTimeout(resolve, 5))
  await messages.close()
  await follower.close()
  return acked
    .map(([id, ms]) => {
      const seenMs = seen.get(id)
      if (seenMs === undefined) throw new Error(`the consumer never had event ${id}`)
      return Math.max(0, seenMs - ms)
    })
    .sort((a, b) => a - b)
}
