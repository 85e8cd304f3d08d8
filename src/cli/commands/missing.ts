import type { Command } from 'commander'
import { formatBytes } from '../../lib/units.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { clientCommand, withSession } from '../session.ts'

const examples = `
Asks the other sites that are heard, and looks at what is known here: events and roots that have not come yet, and copies that the
policy wants at this site. Events come by themselves as soon as the link is up; --fetch has the copies made.

Examples:
  $ stowage missing
  $ stowage missing --peer paris
  $ stowage missing --fetch`

type Fields = Readonly<Record<string, unknown>>

const fieldsOf = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {})
const listOf = (value: unknown): Fields[] => (Array.isArray(value) ? value.map(fieldsOf) : [])
const shown = (value: unknown): string => Number(value ?? 0).toLocaleString('en')

export function missingCommand(io: Io): Command {
  return clientCommand('missing')
    .description('ask other sites what this one is missing')
    .option('--peer <site>', 'ask only this one')
    .option('--fetch', 'make the copies that are wanted here')
    .addHelpText('after', examples)
    .action((options: { readonly peer?: string; readonly fetch?: boolean }, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const { peer, fetch = false } = options
        const report = await client.placement.missing({ peer, fetch, signal })
        await out.result(report, missingText(report))
      }),
    )
}

function missingText(report: Fields): string {
  const unknown = fieldsOf(report.unknown)
  const unplaced = fieldsOf(report.unplaced)
  const fetched = fieldsOf(report.fetched)
  const lines = [
    ...listOf(report.asked).map(askedLine),
    ...listOf(report.events).map(eventsLine),
    ...listOf(unknown.roots).map(({ key, at }) => `unknown   ${String(key)}  announced at ${[at].flat().join(', ')}`),
    ...listOf(unplaced.roots).map(
      ({ cid, store, rule, why, underWay }) =>
        `no copy   ${String(cid)}  for store ${String(store)}, rule ${String(rule)}: ${String(why)}${underWay === true ? ' (on its way)' : ''}`,
    ),
  ]
  const sum = [
    `${shown(unknown.count)} roots are not known here`,
    `${shown(unplaced.count)} copies are wanted here (${formatBytes(Number(unplaced.bytes ?? 0))})`,
    ...(unplaced.complete === false ? ['not all was looked at: ask again'] : []),
    ...(report.fetched === undefined ? [] : [`${shown(fetched.queued)} are queued`]),
  ]
  return [...lines, sum.join('; ')].map(printable).join('\n')
}

function askedLine({ site, error, unknownThere }: Fields): string {
  if (error !== undefined) return `asked     ${String(site)}: ${String(error)}`
  return `asked     ${String(site)}${Number(unknownThere) > 0 ? `, which lacks ${shown(unknownThere)} roots itself` : ''}`
}

function eventsLine({ site, here, there, events, toldBy }: Fields): string {
  const count = events === undefined ? '' : `${shown(events)} `
  return `events    ${count}of ${String(site)} are missing: here up to ${shown(here)}, at ${String(toldBy)} up to ${shown(there)}`
}
