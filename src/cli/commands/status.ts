import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from 'commander'
import { resolveReference } from '../../client/reference.ts'
import { AppError } from '../../errors.ts'
import { formatBytes } from '../../lib/units.ts'
import { factLines } from '../facts.ts'
import type { Io } from '../io.ts'
import { positiveNumber } from '../number-option.ts'
import { objectStatusLines } from '../object-status-lines.ts'
import { placementTable } from '../placement-table.ts'
import { printable } from '../printable.ts'
import { formatSeconds } from '../progress.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
Examples:
  $ stowage status                    how the node is
  $ stowage status docs/report        its copies, what its policy wants, and how far to rely on it
  $ stowage status --watch            where copies lie, as it changes; once where stdout is no terminal
  $ stowage status --json | jq .nats`

interface StatusOptions {
  readonly watch?: boolean
  readonly every: number
}

const everySecondsDefault = 2

export function statusCommand(io: Io): Command {
  return clientCommand('status')
    .description('say how the node is, or the copies of some content')
    .argument('[cid|name]', 'content whose copies are shown')
    .option('-w, --watch', 'show where copies lie, until it is ended')
    .option('--every <seconds>', 'with --watch: how often it looks', positiveNumber, everySecondsDefault)
    .addHelpText('after', examples)
    .action((text: string | undefined, options: StatusOptions, command: Command) =>
      withSession(io, command.optsWithGlobals(), (session) => {
        if (text === undefined) return options.watch === true ? watch(options, session) : showStatus(session)
        if (options.watch !== true) return showObject(text, session)
        throw new AppError('REQUEST_INVALID', '--watch shows all stores, and content was named')
      }),
    )
}

async function showObject(text: string, { client, out, signal }: Session): Promise<void> {
  const { path } = await resolveReference(text, client, { signal })
  const status = await client.objectStatus(path.cid, { signal })
  await out.result(status, objectStatusLines(status))
}

/** Home, and clear what was below. */
const clearScreen = '\x1b[H\x1b[2J'

async function watch({ every }: StatusOptions, { io, client, out, signal }: Session): Promise<void> {
  const isTerminal = io.stdout.isTTY === true && !out.json
  for (;;) {
    const summary = await client.placement.summary({ signal })
    const table = placementTable(summary)
    await out.result(summary, isTerminal ? `${clearScreen}${table}\n\n${new Date().toISOString()}` : table)
    if (!isTerminal) return
    await delay(every * 1000, undefined, { signal })
  }
}

async function showStatus({ client, out, signal }: Session): Promise<void> {
  const status = await client.status({ signal })
  await out.result(status, factLines(statusFacts(status)))
}

/**
 * Every fact of the status in the order that the node gives: `{ store: { newBlocks: 3 } }` is `store new blocks  3`.
 * What a newer node adds is shown as well. Names ending in Bytes, Seconds and Ms are given their units; an empty list is `none`.
 */
export function statusFacts(status: Readonly<Record<string, unknown>>, prefix = ''): [string, string][] {
  return Object.entries(status).flatMap(([key, value]): [string, string][] => {
    if (value === null || value === undefined) return []
    if (typeof value === 'object' && !Array.isArray(value)) {
      return statusFacts(value as Record<string, unknown>, `${prefix}${wordsOf(key)} `)
    }
    return [
      [`${prefix}${wordsOf(key.replace(/Url$|Seconds$|Ms$|Bytes(?=Max$|$)/, ''))}`.trimEnd(), valueText(key, value)],
    ]
  })
}

function valueText(key: string, value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'none' : printable(value.map(String).join(', '))
  if (typeof value !== 'number') return printable(value === true ? 'yes' : value === false ? 'no' : String(value))
  // A limit's name, like `dag_bytes`, has an underscore, and its value counts hits.
  if (/(?:^b|B)ytes(?:Max)?$/.test(key)) return formatBytes(value)
  if (/seconds$/i.test(key)) return formatSeconds(value)
  if (/Ms$/.test(key)) return formatSeconds(value / 1000)
  if (key === 'pid') return String(value)
  return value.toLocaleString('en')
}

function wordsOf(camelCase: string): string {
  return camelCase.replace(/(?<=[a-z0-9])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
}
