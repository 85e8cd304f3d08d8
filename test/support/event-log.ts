import { randomBytes } from 'node:crypto'
import type { TestContext } from 'vitest'
import type { Config, SettingFlags } from '../../src/config.ts'
import { type Context, type Draft, type Encoded, encodeEvent } from '../../src/events/envelope.ts'
import { Feed } from '../../src/events/feed.ts'
import { EventLog } from '../../src/events/log.ts'
import { uuidv7 } from '../../src/lib/uuid.ts'
import type { Nats } from '../../src/nats/connection.ts'
import { openEventStream } from '../../src/nats/event-stream.ts'
import { openTestStore } from './stores.ts'

export interface TestLog {
  readonly nats: Nats
  readonly config: Config
  readonly domain: string
  readonly stream: string
  readonly log: EventLog
  readonly feed: Feed
  encode(draft: Partial<Draft>, context?: Partial<Context>): Encoded
  /** One event each, in as few commits as they fit. @returns their sequences */
  append(drafts: readonly Partial<Draft>[], context?: Partial<Context>): Promise<number[]>
}

/** A log and a feed of their own on a running server. */
export async function openTestLog(
  url: string,
  onFinished: TestContext['onTestFinished'],
  flags: SettingFlags = {},
): Promise<TestLog> {
  const domain = flags.DOMAIN ?? `d${randomBytes(4).toString('hex')}`
  const { nats, config } = await openTestStore(url, onFinished, { ...flags, DOMAIN: domain })
  const stream = await openEventStream(nats, config.layout)
  const log = new EventLog(nats, stream, 15_000)
  const feed = new Feed({ nats, stream, domain, site: config.layout.site, space: config.layout.space, waitMs: 5_000 })
  const encode: TestLog['encode'] = (draft, context = {}) => {
    const whole: Draft = { entity: 'name', verb: 'set', key: 'k', subject: 'k', data: {}, ...draft }
    return encodeEvent(whole, contextOf(context), { domain, site: 'local', space: 'main', node: 'test' })
  }
  return {
    nats,
    config,
    domain,
    stream,
    log,
    feed,
    encode,
    append: async (drafts, context) => {
      const sequences: number[] = []
      for (let at = 0; at < drafts.length; at += 200) {
        const commit = drafts.slice(at, at + 200).map((draft) => ({ event: encode(draft, context) }))
        sequences.push(...(await log.append(commit)))
      }
      return sequences
    },
  }
}

export function contextOf(context: Partial<Context> = {}): Context {
  const id = context.id ?? uuidv7()
  return {
    id,
    correlation: id,
    causation: undefined,
    owner: 'ann',
    principal: 'admin',
    via: 'http',
    traceparent: undefined,
    ...context,
  }
}
