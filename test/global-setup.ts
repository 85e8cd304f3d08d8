import type { TestProject } from 'vitest/node'
import { resolveServerBinary } from '../src/nats/server-binary.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** The real nats-server that tests start. */
    natsServer: string
  }
}

/** Obtains the server once, as `stowage serve` would, so that `npm test` needs nothing installed. */
export default async function setup(project: TestProject): Promise<void> {
  const server = await resolveServerBinary({
    binary: process.env.STOWAGE_NATS_SERVER,
    env: process.env,
    onFetch: (source) => console.log(`fetching nats-server (${source})`),
  })
  project.provide('natsServer', server.path)
}
