import { Command, CommanderError } from 'commander'
import { AppError, isAppError } from '../errors.ts'
import { addCommand } from './commands/add.ts'
import { carCommand } from './commands/car.ts'
import { catCommand } from './commands/cat.ts'
import { doctorCommand } from './commands/doctor.ts'
import { eventsCommand } from './commands/events.ts'
import { getCommand } from './commands/get.ts'
import { indexCommand } from './commands/index-command.ts'
import { ipnsCommand } from './commands/ipns.ts'
import { keyCommand } from './commands/key.ts'
import { logCommand } from './commands/log.ts'
import { lsCommand } from './commands/ls.ts'
import { missingCommand } from './commands/missing.ts'
import { nameCommand } from './commands/name.ts'
import { namesCommand } from './commands/names.ts'
import { natsPermissionsCommand } from './commands/nats-permissions.ts'
import { placementCommand } from './commands/placement.ts'
import { siteCommand, storeCommand } from './commands/places.ts'
import { policyCommand } from './commands/policy.ts'
import { projectionCommand } from './commands/projection.ts'
import { rmCommand } from './commands/rm.ts'
import { scrubCommand } from './commands/scrub.ts'
import { statCommand } from './commands/stat.ts'
import { statusCommand } from './commands/status.ts'
import { whyCommand } from './commands/why.ts'
import { exitCodeOf, exitCodes, exitCodesHelp } from './exit-codes.ts'
import type { Io } from './io.ts'
import { reportError } from './output.ts'
import { serveCommand } from './serve-options.ts'

const examples = `
Examples:
  $ stowage serve                                 run a node in this folder
  $ stowage add -r ./photos                       add a directory, print its CID
  $ echo hello | stowage add --name greeting -    add what comes from a pipe, and name it
  $ stowage cat greeting                          read it by its name
  $ stowage ls <cid>                              what is in it
  $ stowage get <cid>/2024 -o ./photos-2024       fetch a part of it
  $ stowage car export <cid> -o photos.car        take it along, verifiable
  $ stowage events --follow                       see what happens, as it happens
  $ stowage doctor                                check this machine and the node

Where a command takes <cid|name>:
  content   <cid>, <cid>/a/b, /ipfs/<cid>/a/b or ipfs://<cid>/a/b
  a name    everything else: docs/a.txt or name:docs/a.txt, perhaps with a path below it,
            docs/a.txt@17 (a revision) or docs/a.txt@2026-01-31T12:00:00Z (a time)

The node on this machine is found by itself; STOWAGE_API_URL, STOWAGE_GATEWAY_URL and STOWAGE_TOKEN name another.

${exitCodesHelp}`

/**
 * One command line, from its arguments (without node and script) to its exit code. Everything that it reads or writes is
 * in `io`; a failure is one line on stderr.
 */
export async function runCli(argv: readonly string[], io: Io): Promise<number> {
  const state = { exitCode: exitCodes.ok as number }
  try {
    await createProgram(io, state).parseAsync([...argv], { from: 'user' })
  } catch (error) {
    state.exitCode = failed(error, io, argv.includes('--json'))
  }
  // The process may end as soon as this is done: what was written must be out.
  await new Promise<void>((resolve) => io.stdout.write('', () => resolve()))
  return state.exitCode
}

/** The tree of all commands. */
export function createProgram(io: Io, state: { exitCode: number }): Command {
  const program = new Command('stowage')
    .description('Content-addressed storage on NATS JetStream, with an IPFS gateway.')
    .version(io.version, '-V, --version')
    .option('--json', 'JSON lines on stdout, errors as JSON on stderr')
    .addHelpText('after', examples)
  const setExitCode = (exitCode: number) => {
    state.exitCode = exitCode
  }
  const commands = [
    serveCommand(async (flags) => {
      state.exitCode = await io.serve(flags)
    }),
    addCommand(io),
    getCommand(io),
    catCommand(io),
    lsCommand(io),
    statCommand(io),
    carCommand(io),
    rmCommand(io),
    nameCommand(io),
    namesCommand(io),
    ipnsCommand(io),
    keyCommand(io),
    projectionCommand(io),
    eventsCommand(io),
    policyCommand(io),
    whyCommand(io),
    siteCommand(io),
    storeCommand(io),
    indexCommand(io, setExitCode),
    logCommand(io),
    statusCommand(io),
    placementCommand(io),
    missingCommand(io),
    scrubCommand(io),
    doctorCommand(io, setExitCode),
    natsPermissionsCommand(io),
  ]
  for (const command of commands) program.addCommand(command)
  for (const command of everyCommand(program)) {
    command.exitOverride().configureOutput({
      writeOut: (text) => io.stdout.write(text),
      // Reported once, at the end, in our shape.
      writeErr: (text) => (text.startsWith('error:') ? true : io.stderr.write(text)),
      outputError: () => undefined,
    })
  }
  return program
}

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)]
}

function failed(error: unknown, io: Io, json: boolean): number {
  if (error instanceof CommanderError) return usageFailure(error, io, json)
  if (io.signal.aborted && !isAppError(error)) return exitCodes.interrupted
  // `stowage cat … | head`: whoever read us has enough.
  if (error instanceof Error && (error as NodeJS.ErrnoException).code === 'EPIPE') return exitCodes.ok
  reportError(io, json, error)
  return exitCodeOf(error)
}

function usageFailure(error: CommanderError, io: Io, json: boolean): number {
  if (error.exitCode === 0) return exitCodes.ok
  // No command at all: the help has been written.
  if (error.code === 'commander.help') return exitCodes.usage
  const message = error.message.replace(/^error: /, '').replaceAll('\n', ' ')
  reportError(io, json, new AppError('REQUEST_INVALID', message, { hint: 'see stowage --help' }))
  return exitCodes.usage
}
