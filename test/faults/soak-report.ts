/** One look at a node under load. */
export interface Sample {
  readonly seconds: number
  readonly nodeBytes: number
  readonly serverBytes: number
  /** Open files of the node. */
  readonly handles: number
}

export interface Trend {
  /** In the second half, as its slope has it. */
  readonly grown: number
  readonly median: number
  readonly isFlat: boolean
}

/** What comes and goes with collections and caches, whatever the load. */
const noiseShare = 0.08

/**
 * Whether a value is flat in the second half of the samples, by the median of the slopes of all pairs (Theil and Sen): peaks
 * and collections do not tilt it, as they do a line of least squares.
 * @param noise growth that counts for nothing, in the unit of the value; an eighth of a tenth of the median does not either
 */
export function trendOf(samples: readonly Sample[], value: (sample: Sample) => number, noise: number): Trend {
  const [first, last] = [samples.at(Math.floor(samples.length / 2)), samples.at(-1)]
  const half = samples.slice(Math.floor(samples.length / 2))
  const slopes = half.flatMap((a, at) =>
    half.slice(at + 1).flatMap((b) => (b.seconds > a.seconds ? (value(b) - value(a)) / (b.seconds - a.seconds) : [])),
  )
  const grown = medianOf(slopes) * ((last?.seconds ?? 0) - (first?.seconds ?? 0))
  const median = medianOf(half.map(value))
  return { grown: Math.round(grown), median: Math.round(median), isFlat: grown <= Math.max(noise, median * noiseShare) }
}

function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return 0
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2
}

export interface UnwantedLine {
  readonly count: number
  /** The first of its kind, as it was logged. */
  readonly line: string
}

const warnLevel = 40

/**
 * What a person would not want to find in the log of a node that is well: warnings and errors, and what is no line of the log
 * at all, such as a stack or a warning of Node. By message, the most frequent first.
 * @param output all that the node has printed @param isExpected of the message of a line
 */
export function unwantedLines(output: string, isExpected: (message: string) => boolean = () => false): UnwantedLine[] {
  const kinds = new Map<string, { count: number; readonly line: string }>()
  for (const line of output.split('\n')) {
    const message = unwanted(line)
    if (message === undefined || isExpected(message)) continue
    const kind = kinds.get(message) ?? { count: 0, line }
    kind.count++
    kinds.set(message, kind)
  }
  return [...kinds.values()].toSorted((a, b) => b.count - a.count)
}

/** The greeting of a node. */
const greeting = /^(stowage \S+ is ready$| {2}(gateway|API|NATS|data|admin token) )|^ {14}\(shown once/

function unwanted(line: string): string | undefined {
  if (line.trim() === '' || greeting.test(line)) return undefined
  try {
    const { level, msg } = JSON.parse(line) as { readonly level?: unknown; readonly msg?: unknown }
    if (typeof level === 'number') return level >= warnLevel ? String(msg) : undefined
  } catch {
    // No line of the log.
  }
  return line
}
