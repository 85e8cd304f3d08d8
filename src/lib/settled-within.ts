/** How long the end of a node waits for work that nothing hangs on, where the store does not answer. */
export const closeWaitMs = 2_000

/** Waits until the work has ended, whatever came of it, and for `ms` at the longest. */
export async function settledWithin(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([work.catch(() => undefined), late])
  clearTimeout(timer)
}
