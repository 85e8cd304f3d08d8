import { TiB } from '../../src/lib/units.ts'
import { runServer, type ServerProcess } from '../../src/nats/server-process.ts'
import type { Bench } from './bench.ts'
import { atEnd, ownProcess, processGone, temporaryFolder } from './cleanup.ts'

export interface BareNats {
  readonly url: () => string
  readonly pid: () => number
  restart(): Promise<void>
}

/** A nats-server with the configuration of the embedded one (`sync_interval: always`), and no node beside it. */
export async function startBareNats(bench: Bench): Promise<BareNats> {
  const dataDir = await temporaryFolder('nats')
  const start = async (): Promise<ServerProcess> => {
    const { signal } = new AbortController()
    const run = { binary: bench.natsServer, env: process.env, dataDir, port: 0, site: 'bench', storeBytesMax: TiB }
    const server = await runServer(run, { signal })
    ownProcess(server.pid)
    return server
  }
  let server = await start()
  const stop = async () => {
    await server.stop()
    processGone(server.pid)
  }
  atEnd(stop)
  return {
    url: () => `nats://127.0.0.1:${server.port}`,
    pid: () => server.pid,
    async restart() {
      await stop()
      server = await start()
    },
  }
}
