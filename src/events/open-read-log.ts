import type { Config } from '../config.ts'
import type { Nats } from '../nats/connection.ts'
import { openReadStream } from '../nats/event-stream.ts'
import type { EventSource } from './envelope.ts'
import { EventReadLog } from './read-log.ts'

/** The server sets the whole size of a bounded stream aside at once: on a small disk it must leave the rest for content. */
const storeShareMax = 1 / 16

export interface ReadLogRoom {
  /** What the server's streams may take together. */
  readonly storeBytesMax: number | undefined
  /** False while a record could fill up the store. */
  readonly hasRoom: () => boolean
}

/** Undefined when the settings switch it off. */
export async function openReadLog(
  nats: Nats,
  { layout, reads }: Pick<Config, 'layout' | 'reads'>,
  source: EventSource,
  { storeBytesMax = Number.POSITIVE_INFINITY, hasRoom }: ReadLogRoom,
): Promise<EventReadLog | undefined> {
  if (!reads.on) return undefined
  const bytesMax = Math.floor(Math.min(reads.bytesMax, storeBytesMax * storeShareMax))
  const makeAnew = async () => void (await openReadStream(nats, layout, { ...reads, bytesMax }))
  await makeAnew()
  return new EventReadLog({ nats, source, hasRoom, makeAnew })
}
