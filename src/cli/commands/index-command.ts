import { Command } from 'commander'
import { exitCodes } from '../exit-codes.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { clientCommand, withSession } from '../session.ts'

const examples = `
The name index is made from the event log, and can be made again from it at any time.

Examples:
  $ stowage index verify            exit code 1 when they differ
  $ stowage index verify --repair
  $ stowage index rebuild`

type Report = Readonly<Record<string, unknown>>

export function indexCommand(io: Io, setExitCode: (exitCode: number) => void): Command {
  const verify = clientCommand('verify')
    .description('compare the name index with the event log')
    .option('--repair', 'make the index what the log says')
    .addHelpText('after', examples)
    .action((options: { readonly repair?: boolean }, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const report = await client.maintenance.verifyIndex({ repair: options.repair === true, signal })
        await out.result(report, verifyText(report))
        if (report.ok !== true) setExitCode(exitCodes.failure)
      }),
    )
  const rebuild = clientCommand('rebuild')
    .description('drop the name index and build it from the event log')
    .addHelpText('after', examples)
    .action((_options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const report = await client.maintenance.rebuildIndex({ signal })
        await out.result(report, `the index was built from the log: ${countsText(report)}`)
      }),
    )
  return new Command('index')
    .description('check or rebuild the index of names')
    .addCommand(verify)
    .addCommand(rebuild)
    .addHelpText('after', examples)
}

/** Each difference that the node tells of on a line, then what it comes to. */
function verifyText(report: Report): string {
  const { differences, repaired, examples: found } = report
  if (differences === 0) return `the index is what the log says: ${countsText(report)}`
  const lines = Array.isArray(found) ? found.map(differenceText) : []
  const end = repaired === true ? 'repaired' : 'repair them with `stowage index verify --repair`'
  return [...lines, `${String(differences)} ${differences === 1 ? 'difference' : 'differences'}; ${end}`].join('\n')
}

/** `missing  names  docs.a=2Etxt`: the key as `nats kv ls` shows it. */
function differenceText(difference: unknown): string {
  const { kind, index, key } = difference as Report
  return printable(`${String(kind).padEnd(9)}  ${String(index).padEnd(7)}  ${String(key)}`)
}

function countsText({ events, keys }: Report): string {
  return `${Number(keys).toLocaleString('en')} keys, ${Number(events).toLocaleString('en')} events`
}
