import { pino } from 'pino'
import type { TestContext } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { type RunningNode, startNode } from '../../src/node.ts'
import { type Ran, type RunOptions, run, testFolder } from './cli.ts'
import { startTestNats, type TestNats } from './nats.ts'

type OnFinished = TestContext['onTestFinished']

export interface FullNode {
  readonly node: RunningNode
  readonly nats: Pick<TestNats, 'url'>
  readonly token: string
  /** What the node logged as an error. */
  readonly errors: readonly string[]
  /** For a client of it: its URLs and its token. */
  readonly env: Readonly<Record<string, string>>
  close(): Promise<void>
}

export interface FullNodeOptions {
  /** Default: a server of its own. */
  readonly nats?: Pick<TestNats, 'url'>
  readonly env?: Readonly<Record<string, string>>
}

const token = 'stw_token_of_a_full_node'

/** Everything as `stowage serve` composes it, in this process, on free ports, over a real nats-server. */
export async function startFullNode(onFinished: OnFinished, options: FullNodeOptions = {}): Promise<FullNode> {
  const nats = options.nats ?? (await ownNats(onFinished))
  const dataDir = await testFolder(onFinished)
  const config = readConfig({
    STOWAGE_NATS_URL: nats.url,
    STOWAGE_DATA: dataDir,
    STOWAGE_API_PORT: '0',
    STOWAGE_GATEWAY_PORT: '0',
    STOWAGE_SHARDS: '2',
    STOWAGE_TOKEN: token,
    ...options.env,
  })
  const errors: string[] = []
  const log = pino({ level: 'error' }, { write: (line: string) => errors.push(line) })
  const stop = new AbortController()
  const node = await startNode(config, { log, version: '9.9.9', env: {}, signal: stop.signal })
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= node.close()
    return closing
  }
  onFinished(close)
  const env = { STOWAGE_API_URL: node.apiUrl, STOWAGE_GATEWAY_URL: node.gatewayUrl, STOWAGE_TOKEN: token }
  return { node, nats, token, errors, env, close }
}

async function ownNats(onFinished: OnFinished): Promise<TestNats> {
  const nats = await startTestNats()
  onFinished(() => nats.stop())
  return nats
}

export interface NodeCli extends FullNode {
  /** The working directory, the home and the place for files. */
  readonly folder: string
  run(argv: readonly string[], options?: RunOptions): Promise<Ran>
}

/** The command line before a full node. */
export async function openNodeCli(
  onFinished: OnFinished,
  env: Readonly<Record<string, string>> = {},
): Promise<NodeCli> {
  const full = await startFullNode(onFinished, { env })
  const folder = await testFolder(onFinished)
  return {
    ...full,
    folder,
    run: (argv, options = {}) => run(folder, argv, { ...options, env: { ...full.env, ...options.env } }),
  }
}
