import { type NodeProcess, startNodeProcess } from '../../test/support/node-process.ts'
import type { Bench } from './bench.ts'
import { atEnd, ownProcess, processGone, temporaryFolder } from './cleanup.ts'
import type { HttpResult } from './http-job.ts'
import { runJob } from './run-job.ts'

/** The program as users run it, with an embedded nats-server, in a data folder of its own. */
export interface Stowage {
  readonly node: () => NodeProcess
  /** Stops node and nats-server and starts them on the same data. */
  restart(): Promise<void>
  stop(): Promise<void>
  /** POST /api/v1/objects: a number is bytes of fresh content, a text a file. */
  add(body: number | string, mediaType: string): Promise<HttpResult & { readonly cid: string }>
  get(path: string): Promise<HttpResult>
}

export async function startStowage(bench: Bench, env: Readonly<Record<string, string>> = {}): Promise<Stowage> {
  const dataDir = await temporaryFolder('node')
  const start = async () => {
    const node = await startNodeProcess({
      dataDir,
      natsServer: bench.natsServer,
      env: { STOWAGE_LOG: 'warn', ...env },
    })
    ownProcess(node.pid)
    return node
  }
  let node = await start()
  let stopped = false
  const stop = async () => {
    if (stopped) return
    stopped = true
    await node.end('SIGTERM')
    processGone(node.pid)
  }
  atEnd(stop)
  return {
    node: () => node,
    stop,
    async restart() {
      await stop()
      node = await start()
      stopped = false
    },
    async add(body, mediaType) {
      const headers = { authorization: `Bearer ${node.token}`, 'content-type': mediaType }
      const url = `${node.apiUrl}/api/v1/objects`
      const result = await runJob<HttpResult>('http-client.ts', { kind: 'upload', url, headers, body })
      const { cid } = JSON.parse(result.reply) as { cid: string }
      return { ...result, cid }
    },
    get: (path) => runJob<HttpResult>('http-client.ts', { kind: 'download', url: `${node.gatewayUrl}${path}` }),
  }
}
