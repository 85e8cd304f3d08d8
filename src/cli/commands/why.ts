import type { Command } from 'commander'
import type { Fields } from '../../client/reply-fields.ts'
import { formatBytes } from '../../lib/units.ts'
import type { Io } from '../io.ts'
import { partialText } from '../object-status-lines.ts'
import { clientCommand, withSession } from '../session.ts'
import { tableLines } from '../table.ts'
import { stepCells } from './policy-plan.ts'

const examples = `
Shows which rule of the policy applies and why those before it do not, each copy with the events behind it, and what is
still to be done.

Examples:
  $ stowage why docs/a.txt
  $ stowage why <cid> --json | jq .copies`

export function whyCommand(io: Io): Command {
  return clientCommand('why')
    .description('say why content lies where it lies')
    .argument('<cid|name>', 'an object, as it was added')
    .addHelpText('after', examples)
    .action((reference: string, _options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const why = await client.places.why(plain(reference), { signal })
        await out.result(why, whyText(why))
      }),
    )
}

/** `name:docs/a` and `/ipfs/<cid>` as they may be typed elsewhere are `docs/a` and `<cid>`. */
const plain = (reference: string): string => reference.replace(/^(?:name:|\/names\/|\/?ipfs\/|ipfs:\/\/)(?=.)/, '')

const record = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {})
const list = (value: unknown): readonly Fields[] => (Array.isArray(value) ? (value as Fields[]) : [])

function whyText(why: Fields): string {
  const { cid, name, bytes, rule, verified, failureDomains, confidence, policyRevision, deleted, lost } = why
  const { min, max } = record(why.wanted)
  const wanted = min === max ? String(min) : `${String(min)} to ${String(max)}`
  const policy = typeof policyRevision === 'number' ? `policy of revision ${policyRevision}` : 'no policy was set'
  const met = why.satisfied === true ? 'satisfied' : 'not satisfied'
  const state = [
    why.partial === true ? `${partialText(why)}; of what was put: ${met}` : met,
    ...(why.degraded === true ? ['degraded: fewer failure domains than copies'] : []),
    ...(deleted === true ? ['deleted'] : []),
    ...(lost === true ? ['LOST'] : []),
  ]
  const head = [
    ['object', String(cid), typeof bytes === 'number' ? formatBytes(bytes) : ''],
    ...(typeof name === 'string' ? [['name', name]] : []),
    ['rule', `${String(rule)} (${policy})`],
    ['copies', `${wanted} wanted, ${String(verified)} verified, in ${String(failureDomains)} failure domain(s)`],
    ['state', state.join(', ')],
    ['confidence', String(confidence)],
  ]
  return [
    tableLines(head),
    ...section(
      'rules',
      list(why.rules).map(({ rule: one, applies, why: reason }) => [
        applies === true ? 'yes' : 'no',
        String(one),
        String(reason),
      ]),
    ),
    ...list(why.copies).flatMap(copyLines),
    ...section('still to be done', list(why.steps).map(stepCells)),
    ...section('cannot be met', Array.isArray(why.unmet) ? why.unmet.map((reason) => [String(reason)]) : []),
    ...section('events of the object', list(why.events).map(eventCells)),
    ...(Number(why.eventsLeftOut) > 0
      ? [`${String(why.eventsLeftOut)} older events: stowage events --cid ${String(cid)}`]
      : []),
  ].join('\n')
}

function copyLines({ site, store, state, verifiedAt, reachable, zones, events }: Fields): string[] {
  const when = typeof verifiedAt === 'string' ? `verified ${verifiedAt}` : 'never verified'
  const reach = reachable === true ? 'in reach' : 'out of reach'
  const domains = Array.isArray(zones) && zones.length > 0 ? `failure domain ${zones.join(', ')}` : ''
  const title = tableLines([[`${String(site)}/${String(store)}`, String(state), when, reach, domains]])
  return [title, ...indented(list(events).map(eventCells))]
}

function section(title: string, rows: readonly (readonly string[])[]): string[] {
  return rows.length === 0 ? [] : [`${title}:`, ...indented(rows)]
}

function indented(rows: readonly (readonly string[])[]): string[] {
  return rows.length === 0
    ? []
    : tableLines(rows)
        .split('\n')
        .map((line) => `  ${line}`)
}

const eventCells = ({ sequence, type, time, site, id }: Fields): string[] =>
  [sequence, type, time, site, id].map(String)
