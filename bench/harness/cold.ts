import { execFileSync } from 'node:child_process'
import { accessSync, constants, writeFileSync } from 'node:fs'

const dropCaches = '/proc/sys/vm/drop_caches'

/** Drops the page cache where that is allowed, which is for root on Linux. */
export function dropPageCache(): void {
  if (!mayDrop()) return
  execFileSync('sync')
  writeFileSync(dropCaches, '3')
}

/** Which cold it is, for the table. */
export const coldKind = (): string =>
  mayDrop() ? 'cold: restarted, page cache dropped' : 'cold: restarted, page cache NOT dropped (needs root)'

function mayDrop(): boolean {
  try {
    accessSync(dropCaches, constants.W_OK)
    return true
  } catch {
    return false
  }
}
