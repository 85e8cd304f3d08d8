import { Worker } from 'node:worker_threads'
import type { LogLevel } from '../config.ts'

export interface WatchdogOptions {
  /** How long the event loop may be blocked. */
  readonly blockedMsMax: number
  /** What the process then ends with. */
  readonly exitCode: number
  readonly level: LogLevel
  /** It cannot watch. */
  readonly onTrouble: (error: unknown) => void
}

/** What the watching thread is given. */
export interface WatchdogData extends Omit<WatchdogOptions, 'onTrouble'> {
  /** One Int32, which grows with each beat of the main thread. */
  readonly beats: SharedArrayBuffer
  /** Between two beats, and between two looks at them. */
  readonly beatMs: number
}

const beatMsMax = 1_000

/**
 * Ends this process when its event loop is blocked for too long, so that whoever supervises it starts it again: a loop that
 * never lets go answers nobody and heeds no signal. A thread of its own watches; before the end it logs where the main thread is.
 * It costs a timer here, and a thread that sleeps. Time in which the whole process stood still does not count.
 */
export function watchEventLoop({ onTrouble, ...options }: WatchdogOptions): { close(): Promise<unknown> } {
  const beatMs = Math.min(beatMsMax, options.blockedMsMax / 10)
  const beats = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
  const count = new Int32Array(beats)
  const beat = setInterval(() => Atomics.add(count, 0, 1), beatMs)
  beat.unref()
  const workerData: WatchdogData = { ...options, beats, beatMs }
  const thread = new Worker(new URL('./watchdog-thread.js', import.meta.url), {
    workerData,
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 },
  })
  thread.on('error', onTrouble)
  thread.unref()
  return {
    close: () => {
      clearInterval(beat)
      return thread.terminate()
    },
  }
}
