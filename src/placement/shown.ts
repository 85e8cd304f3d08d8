import { setTimeout as delay } from 'node:timers/promises'

const waitMs = 2_000
const pollMs = 5

/**
 * A change is in the log, and shows a moment later in what this node goes by. Waits for that, but not for long: what is done
 * is done, and another node may be the one that brings the index up.
 */
export async function shownWithin(isShown: () => boolean): Promise<void> {
  const endMs = performance.now() + waitMs
  while (!isShown() && performance.now() < endMs) await delay(pollMs)
}
