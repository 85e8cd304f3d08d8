import { SingleBar } from 'cli-progress'
import { formatBytes } from '../lib/units.ts'
import { printable } from './printable.ts'

/** Where the bar is drawn; nothing is drawn unless it is a terminal. */
export type ProgressStream = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number }

export interface Progress {
  add(bytes: number): void
  /** Takes the bar off the terminal. */
  stop(): void
}

export interface ProgressState {
  readonly label: string
  readonly bytes: number
  /** Undefined where the length is not known before the end. */
  readonly totalBytes: number | undefined
  readonly bytesPerSecond: number
}

const rateWindowMs = 5000

/** A bar on a terminal, nothing in a pipe. `now` is a monotonic clock in milliseconds. */
export function startProgress(
  stream: ProgressStream,
  label: string,
  totalBytes: number | undefined,
  now: () => number = () => performance.now(),
): Progress {
  if (stream.isTTY !== true) return { add: () => undefined, stop: () => undefined }
  const rate = new Rate(now)
  let bytes = 0
  const format = () =>
    renderProgress({ label, bytes, totalBytes, bytesPerSecond: rate.bytesPerSecond(bytes) }, columnsOf(stream))
  const bar = new SingleBar({ format, stream, clearOnComplete: true, fps: 10, barsize: 1, emptyOnZero: true })
  bar.start(totalBytes ?? 0, 0)
  return {
    add: (more) => {
      bytes += more
      bar.update(bytes)
    },
    stop: () => bar.stop(),
  }
}

/** Some pseudo-terminals say 0. */
function columnsOf({ columns }: ProgressStream): number {
  return columns === undefined || columns === 0 ? 80 : columns
}

/** One line of at most `columns` characters: label, bar and share, bytes, rate, time left. */
export function renderProgress(state: ProgressState, columns: number): string {
  const { bytes, totalBytes, bytesPerSecond } = state
  const label = printable(state.label)
  const rate = bytesPerSecond > 0 ? `${formatBytes(Math.round(bytesPerSecond))}/s` : ''
  if (totalBytes === undefined || totalBytes === 0) return fitted([label, formatBytes(bytes), rate], columns)
  const share = Math.min(1, bytes / totalBytes)
  const left = bytesPerSecond > 0 ? `${formatSeconds((totalBytes - bytes) / bytesPerSecond)} left` : ''
  const percent = `${Math.floor(share * 100)}%`.padStart(4)
  const figures = [percent, `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`, rate, left]
  const room = columns - fitted([label, ...figures], columns).length - 5
  return fitted(room >= 8 ? [label, barOf(share, Math.min(room, 30)), ...figures] : [label, ...figures], columns)
}

/** `4 s`, `3 min 05 s`, `2 h 10 min`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds))
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, '0')} min`
}

function fitted(parts: readonly string[], columns: number): string {
  const shown = parts.filter((part) => part !== '')
  const line = shown.join('  ')
  if (line.length < columns || shown.length < 2) return line.slice(0, Math.max(0, columns - 1))
  const [label = '', ...rest] = shown
  const room = columns - 1 - rest.join('  ').length - 2
  return room >= 8 ? `${label.slice(0, room - 1)}…  ${rest.join('  ')}` : rest.join('  ').slice(0, columns - 1)
}

function barOf(share: number, width: number): string {
  const full = Math.round(share * width)
  return `[${'='.repeat(full)}${' '.repeat(width - full)}]`
}

/** Bytes per second over the last seconds, so that a pause or a burst shows soon and a single chunk does not. */
class Rate {
  readonly #now: () => number
  readonly #samples: { readonly atMs: number; readonly bytes: number }[] = []

  constructor(now: () => number) {
    this.#now = now
  }

  bytesPerSecond(bytes: number): number {
    const atMs = this.#now()
    this.#samples.push({ atMs, bytes })
    while (this.#samples.length > 2 && atMs - (this.#samples[1]?.atMs ?? atMs) >= rateWindowMs) this.#samples.shift()
    const first = this.#samples[0]
    return first === undefined || atMs <= first.atMs ? 0 : ((bytes - first.bytes) * 1000) / (atMs - first.atMs)
  }
}
