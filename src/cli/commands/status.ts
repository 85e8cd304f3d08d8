import type { Command } from 'commander'
import { formatBytes } from '../../lib/units.ts'
import { factLines } from '../facts.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { formatSeconds } from '../progress.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
Examples:
  $ stowage status
  $ stowage status --json | jq .nats`

export function statusCommand(io: Io): Command {
  return clientCommand('status')
    .description('say how the node is: version, NATS server, store, cache')
    .addHelpText('after', examples)
    .action((_options: object, command: Command) => withSession(io, command.optsWithGlobals(), showStatus))
}

async function showStatus({ client, out, signal }: Session): Promise<void> {
  const status = await client.status({ signal })
  await out.result(status, factLines(statusFacts(status)))
}

/**
 * Every fact of the status in the order that the node gives: `{ store: { newBlocks: 3 } }` is `store new blocks  3`.
 * What a newer node adds is shown as well. Names ending in Bytes, Seconds and Ms are given their units.
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
  if (Array.isArray(value)) return printable(value.map(String).join(', '))
  if (typeof value !== 'number') return printable(value === true ? 'yes' : value === false ? 'no' : String(value))
  if (/bytes(Max)?$/i.test(key)) return formatBytes(value)
  if (/seconds$/i.test(key)) return formatSeconds(value)
  if (/Ms$/.test(key)) return formatSeconds(value / 1000)
  if (key === 'pid') return String(value)
  return value.toLocaleString('en')
}

function wordsOf(camelCase: string): string {
  return camelCase.replace(/(?<=[a-z0-9])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
}
