import type { Logger } from 'pino'

interface Loaded {
  readonly rules: number
  readonly files: number
  readonly problems: readonly string[]
  readonly problemCount: number
}

/** What becomes of the denylists, for people: a line that is no rule must not go unseen, since it denies nothing. */
export function denylistLog(log: Logger) {
  return {
    loaded: ({ rules, files, problems, problemCount }: Loaded): void => {
      log.info({ rules, files }, 'the denylist is in force')
      if (problemCount > 0)
        log.error({ problems, problemCount }, 'lines of the denylist are no rules: they deny nothing')
    },
    failed: (error: unknown): void => {
      log.error({ err: error }, 'the denylist has changed and cannot be read: the one before stays in force')
    },
  }
}
