export type Level = 'ok' | 'warn' | 'fail'

/** One line of `stowage doctor`. */
export interface Check {
  readonly name: string
  readonly level: Level
  readonly message: string
  /** What to do; only where there is something to do. */
  readonly hint?: string
}

export const ok = (name: string, message: string): Check => ({ name, level: 'ok', message })
export const warn = (name: string, message: string, hint?: string): Check => withHint(name, 'warn', message, hint)
export const fail = (name: string, message: string, hint?: string): Check => withHint(name, 'fail', message, hint)

function withHint(name: string, level: Level, message: string, hint: string | undefined): Check {
  return hint === undefined ? { name, level, message } : { name, level, message, hint }
}
