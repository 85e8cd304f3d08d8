import { vi } from 'vitest'

/** Vitest gives up waiting for a condition after a second, which on a busy machine is no time. A test has sixty. */
const waitMs = 30_000

const { waitFor } = vi
vi.waitFor = (callback, options) =>
  waitFor(callback, typeof options === 'number' ? options : { timeout: waitMs, ...options })
