import { setMaxListeners } from 'node:events'

/**
 * Runs all of it until the first one ends, by itself or by a failure; then the signal of the others aborts, and all are
 * waited for: nothing of it goes on behind the back of whoever begins it again.
 * @throws the first failure that is not merely the abort
 */
export async function together(
  signal: AbortSignal,
  ...works: readonly ((signal: AbortSignal) => Promise<unknown>)[]
): Promise<void> {
  const end = new AbortController()
  const either = AbortSignal.any([signal, end.signal])
  // Whatever is run may do many things at a time.
  setMaxListeners(0, either)
  let failure: { readonly error: unknown } | undefined
  await Promise.all(
    works.map(async (work) => {
      try {
        await work(either)
      } catch (error) {
        if (!either.aborted) failure ??= { error }
      } finally {
        end.abort(new Error('what runs beside it has ended'))
      }
    }),
  )
  if (failure !== undefined) throw failure.error
}
