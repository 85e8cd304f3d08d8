import { Command } from 'commander'
import { exitCodes } from '../exit-codes.ts'
import { factLines } from '../facts.ts'
import type { Io } from '../io.ts'
import { clientCommand, withSession } from '../session.ts'
import { statusFacts } from './status.ts'

const examples = `
The name index is made from the event log, and can be made again from it at any time.

Examples:
  $ stowage index verify            exit code 1 when they differ
  $ stowage index verify --repair
  $ stowage index rebuild`

export function indexCommand(io: Io, setExitCode: (exitCode: number) => void): Command {
  const verify = clientCommand('verify')
    .description('compare the name index with the event log')
    .option('--repair', 'make the index what the log says')
    .addHelpText('after', examples)
    .action((options: { readonly repair?: boolean }, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const report = await client.maintenance.verifyIndex({ repair: options.repair === true, signal })
        await out.result(report, factLines(statusFacts(report)))
        if (report.ok === false) setExitCode(exitCodes.failure)
      }),
    )
  const rebuild = clientCommand('rebuild')
    .description('drop the name index and build it from the event log')
    .addHelpText('after', examples)
    .action((_options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const report = await client.maintenance.rebuildIndex({ signal })
        await out.result(report, factLines(statusFacts(report)))
      }),
    )
  return new Command('index')
    .description('check or rebuild the index of names')
    .addCommand(verify)
    .addCommand(rebuild)
    .addHelpText('after', examples)
}
