import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { Client } from '../../client/client.ts'
import type { LocatedNode } from '../../client/node-address.ts'
import type { Config } from '../../config.ts'
import { isAppError } from '../../errors.ts'
import { withDeadline } from '../../lib/deadline.ts'
import { formatBytes } from '../../lib/units.ts'
import { type Check, fail, ok, warn } from './check.ts'

const answerMsMax = 5000
const serverMinimum = [2, 12] as const

/** Whether the node answers at all, and is ready; without one, whether it could have its ports. */
export async function checkNode(
  client: Client,
  node: LocatedNode,
  config: Config,
  signal: AbortSignal,
): Promise<{ readonly running: boolean; readonly checks: Check[] }> {
  return withDeadline(answerMsMax, signal, (limited) => checkAnswers(client, node, config, limited, signal))
}

async function checkAnswers(
  client: Client,
  node: LocatedNode,
  config: Config,
  limited: AbortSignal,
  signal: AbortSignal,
): Promise<{ readonly running: boolean; readonly checks: Check[] }> {
  const call = { signal: limited }
  const alive = await attempt(() => client.health('healthz', call))
  if (alive !== undefined) {
    signal.throwIfAborted()
    const hint = 'start one with `npm start` (or `stowage serve`)'
    const none = isAppError(alive, 'NODE_UNREACHABLE')
    const message = none
      ? `none answers at ${node.apiUrl}`
      : `${node.apiUrl} does not answer as a node: ${textOf(alive)}`
    const ports = config.apiUrl === undefined ? await checkPorts(config) : []
    return { running: false, checks: [warn('node', message, none ? hint : 'see STOWAGE_API_URL'), ...ports] }
  }
  const ready = await attempt(() => client.health('readyz', call))
  const readiness =
    ready === undefined
      ? ok('node', `answers at ${node.apiUrl} (address from ${node.addressSource})`)
      : fail(
          'node',
          `answers at ${node.apiUrl} but is not ready: ${textOf(ready)}`,
          (isAppError(ready) ? ready.hint : undefined) ?? 'see the log of the node',
        )
  return { running: true, checks: [readiness, ...(await checkStatus(client, call.signal))] }
}

async function checkStatus(client: Client, signal: AbortSignal): Promise<Check[]> {
  const status = await client.status({ signal }).catch((error: unknown) => error)
  if (status instanceof Error) return [warn('status', `not to be had: ${status.message}`)]
  const { nats, store, log } = status as Readonly<Record<string, unknown>>
  return [...checkNats(nats), ...checkStore(store), ...checkLog(log)]
}

/** What the node says of its event log and the indexes: `{ fault, mending }`, nothing of a node that is older. */
export function checkLog(log: unknown): Check[] {
  if (typeof log !== 'object' || log === null) return []
  const { fault, mending } = log as { readonly fault?: unknown; readonly mending?: unknown }
  const hint = 'put the data folder back from a backup, or see `stowage log status` and docs/damage.md'
  const logCheck =
    typeof fault === 'string' ? fail('event log', `${fault}; writes are refused`, hint) : ok('event log', 'is whole')
  if (!Array.isArray(mending)) return [logCheck]
  if (mending.length === 0) return [logCheck, ok('indexes', 'are whole')]
  const list = mending.map(String).join(', ')
  if (typeof fault !== 'string') {
    const message = `being made anew from the event log: ${list}; names are not listed meanwhile`
    return [logCheck, warn('indexes', message, 'wait; `stowage index verify` tells when it is done')]
  }
  return [logCheck, fail('indexes', `damaged: ${list}; the event log they are made from is damaged too`, hint)]
}

/** What the node says of its streams: `{ troubles }`, none of a node that is older. */
export function checkStore(store: unknown): Check[] {
  const { troubles } = (typeof store === 'object' && store !== null ? store : {}) as { readonly troubles?: unknown }
  if (!Array.isArray(troubles)) return []
  if (troubles.length === 0) return [ok('streams', 'take writes')]
  const hint = 'look at `nats stream info`; what the stream holds can still be read'
  return troubles.map((trouble) => fail('streams', String(trouble), hint))
}

/** What the node says of its NATS server: `{ version, durability, payloadBytesMax }`. */
export function checkNats(nats: unknown): Check[] {
  const facts = typeof nats === 'object' && nats !== null ? (nats as Readonly<Record<string, unknown>>) : {}
  const { version, durability, payloadBytesMax: maxPayload, streamSizes } = facts
  const checks: Check[] = []
  if (typeof version === 'string') {
    const [major = 0, minor = 0] = version.split('.').map(Number)
    const enough = major > serverMinimum[0] || (major === serverMinimum[0] && minor >= serverMinimum[1])
    const minimum = serverMinimum.join('.')
    checks.push(enough ? ok('NATS version', version) : fail('NATS version', `${version} is older than ${minimum}`))
  }
  if (typeof durability === 'string') checks.push(checkDurability(durability))
  if (typeof maxPayload === 'number') {
    const text = formatBytes(maxPayload)
    const small = maxPayload < 2 * 1024 * 1024
    const hint = 'set max_payload: 8MB in the configuration of nats-server'
    checks.push(small ? warn('max payload', `${text}: large blocks travel in parts`, hint) : ok('max payload', text))
  }
  if (streamSizes === 'account') {
    checks.push(ok('stream sizes', 'shares of what the NATS account may hold; STOWAGE_STREAM_BYTES_MAX sets others'))
  }
  return checks
}

function checkDurability(durability: string): Check {
  if (durability === 'os-cache') {
    const message = 'what is acknowledged may be lost when the machine fails: nats-server does not sync every write'
    return warn('durability', message, 'set sync_interval: always in the jetstream block of its configuration')
  }
  return durability === 'unknown'
    ? warn('durability', 'the sync mode of nats-server is not known', 'set STOWAGE_NATS_MONITOR_URL')
    : ok('durability', durability)
}

async function checkPorts(config: Config): Promise<Check[]> {
  const ports = [
    { label: 'API', setting: 'STOWAGE_API_PORT', ...config.api },
    { label: 'gateway', setting: 'STOWAGE_GATEWAY_PORT', ...config.gateway },
    ...(config.nats.url === undefined
      ? [{ label: 'NATS', setting: 'STOWAGE_NATS_PORT', host: '127.0.0.1', port: config.nats.port }]
      : []),
  ]
  return Promise.all(ports.map(checkPort))
}

async function checkPort(port: { label: string; setting: string; host: string; port: number }): Promise<Check> {
  const name = `${port.label} port`
  const server = createServer()
  try {
    server.listen(port.port, port.host)
    await once(server, 'listening')
    return ok(name, port.port === 0 ? 'any free one' : `${port.port} is free`)
  } catch (error) {
    const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
    const reason = code === 'EADDRINUSE' ? 'is taken by another program' : `cannot be used (${code})`
    return fail(name, `${port.port} on ${port.host} ${reason}`, `choose another one with ${port.setting}`)
  } finally {
    server.close()
  }
}

/** Whether STOWAGE_NATS_URL leads anywhere; one that answers of a list is enough. */
export async function checkNatsUrl(config: Config, signal: AbortSignal): Promise<Check[]> {
  if (config.nats.url === undefined) return []
  const urls = config.nats.url.split(',').map((url) => new URL(url.trim()))
  const failures = await Promise.all(urls.map((url) => reach(url, signal)))
  const at = failures.indexOf(undefined)
  const reached = urls[at]
  if (reached !== undefined) return [ok('NATS server', `${reached.host} takes connections`)]
  const list = urls.map((url, i) => `${url.host} (${failures[i]})`).join(', ')
  return [fail('NATS server', `not to be reached: ${list}`, 'check STOWAGE_NATS_URL, the server and the firewall')]
}

/** @returns why it cannot be reached; undefined when it can */
async function reach(url: URL, signal: AbortSignal): Promise<string | undefined> {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const socket = connect({ host, port: Number(url.port === '' ? 4222 : url.port) })
  try {
    await withDeadline(answerMsMax, signal, (limited) => once(socket, 'connect', { signal: limited }))
    return undefined
  } catch (error) {
    signal.throwIfAborted()
    const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
    return code === 'ABORT_ERR' ? 'no answer' : String(code)
  } finally {
    socket.destroy()
  }
}

async function attempt(act: () => Promise<void>): Promise<unknown> {
  try {
    await act()
    return undefined
  } catch (error) {
    return error
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
