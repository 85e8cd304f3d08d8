import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'

const lowest = 12_000
const highestDefault = 32_767

/**
 * Ports that are free now and stay so while whoever has them is away: from below the range out of which the system gives
 * outgoing connections theirs, so that a server that was killed can come back to its own.
 */
export async function freePorts(count: number): Promise<number[]> {
  const highest = await belowEphemeral()
  const ports = new Set<number>()
  for (let tries = 0; ports.size < count; tries++) {
    if (tries > 1_000) throw new Error(`no ${count} free ports between ${lowest} and ${highest}`)
    const port = lowest + Math.floor(Math.random() * (highest - lowest))
    if (await isFree(port)) ports.add(port)
  }
  return [...ports]
}

async function belowEphemeral(): Promise<number> {
  const range = await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').catch(() => '')
  const first = Number(range.split(/\s+/)[0])
  return first > lowest + 1_000 ? first - 1 : highestDefault
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
