/**
 * Kubernetes puts variables for each Service of a namespace into every pod (unless `enableServiceLinks: false`), after the names that
 * Docker's links once had: for a Service `a-b` they are `A_B_SERVICE_HOST`, `A_B_SERVICE_PORT`, `A_B_SERVICE_PORT_<NAME>`, `A_B_PORT`,
 * and for each port `A_B_PORT_80_TCP` with `_PROTO`, `_PORT` and `_ADDR`. A Service that is called as a program is so looks like
 * its settings.
 */

const address = String.raw`(?:\[[0-9a-f:.]+\]|[0-9.]+)`
const linkUrl = new RegExp(`^(?:tcp|udp|sctp)://${address}:\\d+$`, 'i')
const hostValue = /^(?:[0-9.]+|[0-9a-f:.]+)$/i

/** The URL that Kubernetes gives to `<SERVICE>_PORT`, where a program of that name wants a number. */
export const isServiceLinkUrl = (value: string): boolean => linkUrl.test(value)

/** By its name and its value together: neither tells alone. */
export function isServiceLink(name: string, value: string): boolean {
  if (/_SERVICE_HOST$/.test(name)) return hostValue.test(value)
  if (/_SERVICE_PORT(?:_[A-Z0-9_]+)?$/.test(name)) return /^\d+$/.test(value)
  // Before the rest: `A_PORT_80_TCP_PORT` ends like `A_PORT`.
  const part = /_PORT_\d+_(?:TCP|UDP|SCTP)_(PROTO|PORT|ADDR)$/.exec(name)?.[1]
  if (part === 'PROTO') return /^(?:tcp|udp|sctp)$/i.test(value)
  if (part !== undefined) return part === 'PORT' ? /^\d+$/.test(value) : hostValue.test(value)
  return /_PORT(?:_\d+_(?:TCP|UDP|SCTP))?$/.test(name) && isServiceLinkUrl(value)
}
