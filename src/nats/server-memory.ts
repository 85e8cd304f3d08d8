import type { MemoryLimit } from '../lib/memory-limit.ts'

/**
 * The share of nats-server in the memory that it and the node have together. The rest is for the node (its heap, the windows and
 * caches of the settings: some 250 MiB with the defaults under load) and for what Go's limit does not count.
 */
const serverShare = 0.4

/**
 * GOMEMLIMIT for nats-server, a size that its garbage collector tries to stay within. Without it the collector lets the heap double
 * between two collections, and keeps what reads of a large store have used: 2 GiB and more, at which a container is killed.
 * @param setting STOWAGE_NATS_MEMORY_BYTES @param given GOMEMLIMIT of the environment, which is the user's own word
 * @returns undefined = nothing is to be set
 */
export function serverMemoryLimit(
  setting: number | 'auto' | 'off',
  given: string | undefined,
  limit: MemoryLimit,
): string | undefined {
  if (setting === 'off' || (given !== undefined && given !== '')) return undefined
  return String(setting === 'auto' ? Math.floor(limit.bytes * serverShare) : setting)
}
