/** A point of time as POSIX has it: seconds since 1970, and nanoseconds that count upwards also before it: -0.25 s is -1 and 750,000,000. */
export interface UnixTime {
  readonly secs: bigint
  /** 0 to 999,999,999. */
  readonly nsecs: number
}

const second = 1_000_000_000n
/** As far as a `Date` goes, in both directions: beyond it a time has no calendar date. */
const secondsMax = 8_640_000_000_000n

export function unixTime(nanoseconds: bigint): UnixTime {
  const nsecs = ((nanoseconds % second) + second) % second
  return { secs: (nanoseconds - nsecs) / second, nsecs: Number(nsecs) }
}

/** `-1.25` → 1.25 s before 1970. Digits after the ninth are left out. Undefined for what is no such number, or beyond all dates. */
export function parseSeconds(text: string): UnixTime | undefined {
  const [, minus, whole = '', fraction = ''] = /^(-?)(\d{1,16})(?:\.(\d{1,20}))?$/.exec(text) ?? []
  if (whole === '') return undefined
  const nanoseconds = BigInt(whole) * second + BigInt(fraction.slice(0, 9).padEnd(9, '0'))
  return bounded(unixTime(minus === '-' ? -nanoseconds : nanoseconds))
}

/** Reads an RFC 3339 time, to the nanosecond; a date alone is its beginning in UTC. Undefined for anything else. */
export function parseRfc3339(text: string): UnixTime | undefined {
  const form = /^(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d))?$/
  const [, date, clock, fraction = '', zone = 'Z'] = form.exec(text) ?? []
  if (date === undefined) return undefined
  if (fraction !== '' && clock?.length !== 8) return undefined
  const ms = Date.parse(`${date}T${clock ?? '00:00'}${zone.toUpperCase()}`)
  if (Number.isNaN(ms)) return undefined
  return { secs: BigInt(ms / 1000), nsecs: Number(fraction.slice(0, 9).padEnd(9, '0')) }
}

/** The shortest decimal number of seconds. */
export function formatSeconds({ secs, nsecs }: UnixTime): string {
  const total = secs * second + BigInt(nsecs)
  const digits = (total < 0n ? -total : total).toString().padStart(10, '0')
  const fraction = digits.slice(-9).replace(/0+$/, '')
  return `${total < 0n ? '-' : ''}${digits.slice(0, -9)}${fraction === '' ? '' : `.${fraction}`}`
}

/** RFC 3339 in UTC: with milliseconds, or nine digits where there is more. Undefined beyond all dates. */
export function formatRfc3339(time: UnixTime): string | undefined {
  if (bounded(time) === undefined) return undefined
  const text = new Date(Number(time.secs) * 1000 + Math.trunc(time.nsecs / 1e6)).toISOString()
  return time.nsecs % 1_000_000 === 0 ? text : text.replace(/\.\d{3}Z$/, `.${String(time.nsecs).padStart(9, '0')}Z`)
}

function bounded(time: UnixTime): UnixTime | undefined {
  return time.secs >= -secondsMax && time.secs < secondsMax ? time : undefined
}
