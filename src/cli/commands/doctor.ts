import type { Command } from 'commander'
import { readConfig } from '../../config.ts'
import { isAppError } from '../../errors.ts'
import { type Check, fail, ok, warn } from '../doctor/check.ts'
import { checkDataFolder } from '../doctor/data-folder.ts'
import { checkNodeVersion, checkOpenFiles, checkServerBinary } from '../doctor/machine.ts'
import { checkNatsUrl, checkNode } from '../doctor/network.ts'
import { exitCodes } from '../exit-codes.ts'
import type { Io } from '../io.ts'
import { createOutput, type Output } from '../output.ts'
import { printable } from '../printable.ts'
import { settingFlags } from '../serve-options.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
Each line is ok, warn or fail, and says what to do. The exit code is 1 when anything fails.

Examples:
  $ stowage doctor
  $ stowage doctor --json | jq -c 'select(.level != "ok")'`

export function doctorCommand(io: Io, setExitCode: (exitCode: number) => void): Command {
  return clientCommand('doctor')
    .description('check this machine, its settings and the node: each line ok, or what to do')
    .addHelpText('after', examples)
    .action(async (_options: object, command: Command) => {
      const options: Readonly<Record<string, unknown>> = command.optsWithGlobals()
      const out = createOutput(io, options.json === true)
      const settings = checkSettings(io, options)
      const checks = [checkNodeVersion(), ...settings]
      for (const check of checks) await show(check, out)
      if (checks.some(({ level }) => level === 'fail')) {
        setExitCode(exitCodes.failure)
        return
      }
      await withSession(io, options, async (session) => {
        if (await examine(session)) setExitCode(exitCodes.failure)
      })
    })
}

/** Without settings that can be read there is nothing more to look at. */
function checkSettings(io: Io, options: Readonly<Record<string, unknown>>): Check[] {
  try {
    const { strayVariables } = readConfig(io.env, settingFlags(options))
    return [
      ok('settings', 'can be read'),
      ...strayVariables.unknown.map((text) => warn('settings', text)),
      ...strayVariables.links.map((text) => ok('settings', text)),
    ]
  } catch (error) {
    if (!isAppError(error, 'SETTING_INVALID')) throw error
    return error.message.split('; ').map((problem) => fail('settings', problem, error.hint))
  }
}

/** @returns whether anything failed */
async function examine({ io, out, config, node, client, signal }: Session): Promise<boolean> {
  const { running, checks } = await checkNode(client, node, config, signal)
  const all = [
    ...(await checkOpenFiles()),
    ...(await checkServerBinary(io, config)),
    ...(await checkNatsUrl(config, signal)),
    ...(await checkDataFolder(config, node.dataDir, running)),
    ...checks,
  ]
  for (const check of all) await show(check, out)
  return all.some(({ level }) => level === 'fail')
}

async function show(check: Check, out: Output): Promise<void> {
  const hint = check.hint === undefined ? '' : `; ${check.hint}`
  await out.result(check, `${check.level.padEnd(4)}  ${check.name.padEnd(12)}  ${printable(`${check.message}${hint}`)}`)
}
