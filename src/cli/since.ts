import { AppError } from '../errors.ts'

const secondsOf: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }

/**
 * What `--since` takes, as the node takes it: an event's number stays one, `90s`, `15m`, `1h`, `2d` or `1w` ago and any
 * date with or without a time become an RFC 3339 time.
 * @throws AppError REQUEST_INVALID
 */
export function parseSince(text: string, now: Date = new Date()): string {
  if (/^\d{1,15}$/.test(text)) return text
  const [, amount, unit] = /^(\d{1,6})(s|m|h|d|w)$/.exec(text) ?? []
  const seconds = unit === undefined ? undefined : secondsOf[unit]
  if (seconds !== undefined) return new Date(now.getTime() - Number(amount) * seconds * 1000).toISOString()
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? new Date(text) : undefined
  if (time !== undefined && !Number.isNaN(time.getTime())) return time.toISOString()
  throw new AppError('REQUEST_INVALID', `--since ${JSON.stringify(text)} is no point in time`, {
    hint: 'give the number of an event (17), a time (2026-01-31, 2026-01-31T12:00:00Z) or how long ago (90s, 15m, 1h, 2d)',
  })
}
