import type { NatsConfig } from '../config.ts'

/**
 * What an ack of the server is worth. `fsync`: on the disk. `os-cache`: handed to the operating system, so a power cut may
 * take up to two minutes of acked writes. `unknown`: the server is not ours and no monitoring URL says.
 */
export type Durability = 'fsync' | 'os-cache' | 'unknown'

const timeoutMs = 3_000

/** The sync mode of an external server, from its `/jsz`. */
export async function durabilityOf(config: NatsConfig): Promise<Durability> {
  if (config.url === undefined) return 'fsync'
  if (config.monitorUrl === undefined) return 'unknown'
  try {
    const response = await fetch(new URL('/jsz', config.monitorUrl), { signal: AbortSignal.timeout(timeoutMs) })
    const body = (await response.json()) as { config?: { sync_always?: unknown } }
    return body.config?.sync_always === true ? 'fsync' : 'os-cache'
  } catch {
    // A monitoring port that does not answer says nothing of the store: that is what "unknown" means.
    return 'unknown'
  }
}
