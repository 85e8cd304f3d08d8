import { Command } from 'commander'
import { type Client, createClient } from '../client/client.ts'
import { type LocatedNode, locateNode } from '../client/node-address.ts'
import { type Config, givenSetting, readConfig } from '../config.ts'
import type { Io } from './io.ts'
import { createOutput, type Output } from './output.ts'
import { settingFlags, settingOption } from './serve-options.ts'

/** What a command works with; made when it starts, closed when it ends. */
export interface Session {
  readonly io: Io
  readonly out: Output
  readonly config: Config
  readonly node: LocatedNode
  readonly client: Client
  readonly signal: AbortSignal
}

const nodeSettings = ['API_URL', 'GATEWAY_URL', 'TOKEN', 'DATA'] as const

/** A command that talks to a node, with the options that all of them share. */
export function clientCommand(name: string): Command {
  const command = new Command(name).option('--json', 'JSON lines on stdout, errors as JSON on stderr')
  command.optionsGroup('Which node:')
  for (const setting of nodeSettings) command.addOption(settingOption(setting))
  return command.optionsGroup('Options:')
}

/** @throws AppError SETTING_INVALID; what `act` throws */
export async function withSession(
  io: Io,
  options: Readonly<Record<string, unknown>>,
  act: (session: Session) => Promise<void>,
): Promise<void> {
  const flags = settingFlags(options)
  const config = readConfig(io.env, flags)
  const node = await locateNode(config, io.env, {
    cwd: io.cwd,
    given: (name) => givenSetting(io.env, flags, name) !== undefined,
  })
  const client = createClient(node)
  const out = createOutput(io, options.json === true)
  for (const text of config.strayVariables.unknown) out.notice(text)
  try {
    await act({ io, out, config, node, client, signal: io.signal })
  } finally {
    client.close()
  }
}
