import { randomBytes } from 'node:crypto'
import type { TestContext } from 'vitest'
import type { Config } from '../../src/config.ts'
import { createVerbs, type RunningVerbs } from '../../src/content/commands.ts'
import { createGet } from '../../src/content/get.ts'
import { createPut } from '../../src/content/put.ts'
import type { Upload } from '../../src/content/verbs.ts'
import type { Context, EventSource } from '../../src/events/envelope.ts'
import { EventLog } from '../../src/events/log.ts'
import { uuidv7 } from '../../src/lib/uuid.ts'
import { Conflicts } from '../../src/names/conflicts.ts'
import { type LogMessage, readMessage } from '../../src/names/name-fold.ts'
import { type Names, openNames } from '../../src/names/names.ts'
import { Projector } from '../../src/names/projector.ts'
import type { Nats } from '../../src/nats/connection.ts'
import { openEventStream } from '../../src/nats/event-stream.ts'
import { openTestStore } from './stores.ts'

export interface TestVerbs {
  readonly verbs: RunningVerbs
  readonly names: Names
  readonly log: EventLog
  readonly nats: Nats
  readonly config: Config
  readonly source: EventSource
  readonly domain: string
  readonly projector: Projector | undefined
  /** Everything in the log, oldest first. */
  events(): Promise<LogMessage[]>
}

export interface TestVerbsOptions {
  /** Of another node, to share it. */
  readonly domain?: string
  /** Default true. */
  readonly projector?: boolean
  /** Default `local`. */
  readonly site?: string
}

export const freshDomain = (): string => `d${randomBytes(4).toString('hex')}`

/** A node's verbs without its listeners, on a running server. */
export async function openTestVerbs(
  url: string,
  onFinished: TestContext['onTestFinished'],
  { domain = freshDomain(), projector: projecting = true, site = 'local' }: TestVerbsOptions = {},
): Promise<TestVerbs> {
  const { nats, config, blocks } = await openTestStore(url, onFinished, {
    DOMAIN: domain,
    SITE: site,
    STORE: 'a',
    SHARDS: '1',
  })
  const stream = await openEventStream(nats, config.layout)
  const source = { domain, site, space: 'main', node: uuidv7() }
  const log = new EventLog(nats, stream, 5_000)
  const names = await openNames(nats, { stream, layout: config.layout, source, waitMs: 5_000 })
  const conflicts = new Conflicts(log, names.reader, source)
  const projector = projecting ? await Projector.start(nats, { stream, names, site, conflicts }) : undefined
  // Closed before the connection is: what was given last runs first.
  onFinished(async () => {
    await projector?.close()
    await names.close()
  })
  const { limits } = config
  const parts = { put: createPut({ blocks, limits }), get: createGet({ blocks, limits }), blocks }
  const verbs = createVerbs({ ...parts, log, names, limits })
  const events = async () => {
    const messages: LogMessage[] = []
    for await (const message of names.reader.from(`${domain}.evt.>`, 1, signal)) messages.push(message)
    return messages
  }
  return { verbs, names, log, nats, config, source, domain, projector, events }
}

export const { signal } = new AbortController()

export const contextOf = (id: string = uuidv7()): Context => ({
  id,
  correlation: id,
  causation: undefined,
  owner: 'ann',
  principal: 'admin',
  via: 'http',
  traceparent: undefined,
})

export const fileOf = (text: string): Extract<Upload, { kind: 'file' }> => ({
  kind: 'file',
  source: (async function* () {
    yield Buffer.from(text)
  })(),
  options: { signal, profile: 'unixfs-v1-2025' },
})

/** `name.set docs/a.txt`, in the order of the log. */
export const storyOf = (messages: readonly LogMessage[]): string[] =>
  messages.map((message) => {
    const [, , , , entity, verb] = message.subject.split('.')
    return `${entity}.${verb} ${readMessage(message)?.event.data.name ?? ''}`.trim()
  })
