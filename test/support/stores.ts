import { randomBytes } from 'node:crypto'
import pino from 'pino'
import type { TestContext } from 'vitest'
import { type NatsBlockstore, openNatsBlockstore } from '../../src/blocks/nats-blockstore.ts'
import { type Config, readConfig, type SettingFlags } from '../../src/config.ts'
import { connectNats, type Nats } from '../../src/nats/connection.ts'

type OnFinished = TestContext['onTestFinished']

export const silent = pino({ level: 'silent' })

export interface OpenStore {
  readonly nats: Nats
  readonly config: Config
  readonly blocks: NatsBlockstore
}

/** A NATS blockstore of its own on a running server: no two tests meet in one bucket. */
export async function openTestStore(url: string, onFinished: OnFinished, flags: SettingFlags = {}): Promise<OpenStore> {
  const config = readConfig(
    {},
    { STORE: randomBytes(6).toString('hex'), STORE_WAIT_SECONDS: '5', SHARDS: '4', ...flags },
  )
  const nats = await connectNats(url, config.nats, silent)
  onFinished(() => nats.close())
  return { nats, config, blocks: await openNatsBlockstore(nats, config.layout, config.store) }
}
