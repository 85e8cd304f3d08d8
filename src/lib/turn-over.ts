/** How long a loop computes before others have their turn; one step may take longer. */
const sliceMsDefault = 4

const waiting: (() => void)[] = []

/**
 * For a loop that may compute for long: `const pause = turnOver()` once, then `await pause()` in each round where
 * `pause.isDue`. Sockets, timers and signals have their turn then. Loops that run at the same time go on one a turn, so that
 * many of them hold up nobody longer than one does.
 */
export interface Pause {
  /** Cheap: asked in every round. */
  readonly isDue: boolean
  (): Promise<void>
}

export function turnOver(sliceMs = sliceMsDefault): Pause {
  let endMs = performance.now() + sliceMs
  const pause = async () => {
    await new Promise<void>((resolve) => {
      if (waiting.push(resolve) === 1) setImmediate(goOn)
    })
    endMs = performance.now() + sliceMs
  }
  return Object.defineProperty(pause, 'isDue', { get: () => performance.now() >= endMs }) as unknown as Pause
}

/** One a turn: an immediate that is set in an immediate comes after what has arrived meanwhile. */
function goOn(): void {
  waiting.shift()?.()
  if (waiting.length > 0) setImmediate(goOn)
}
