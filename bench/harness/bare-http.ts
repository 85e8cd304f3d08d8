import { once } from 'node:events'
import { atEnd } from './cleanup.ts'
import { spawnScript } from './run-job.ts'

/** The floor of HTTP in Node: a server that does nothing but reply with so many bytes. @returns its URL */
export async function startBareHttp(bytes: number): Promise<string> {
  const child = spawnScript('bare-http-server.ts', [String(bytes)])
  atEnd(() => child.kill('SIGTERM'))
  if (child.stdout === null) throw new Error('no output to read the port from')
  const [port] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string]
  return `http://127.0.0.1:${port.trim()}/`
}
