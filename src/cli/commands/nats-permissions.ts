import { Command } from 'commander'
import { readConfig } from '../../config.ts'
import type { Io } from '../io.ts'
import { settingFlags, settingOption } from '../serve-options.ts'

const examples = `
The configuration names its passwords as environment variables of nats-server: NATS_STOWAGE_PASSWORD and so on. Nodes come in
with STOWAGE_NATS_USER and STOWAGE_NATS_PASSWORD; clients with an inbox prefix of their own, like _INBOX.writer.

Examples:
  $ stowage nats-permissions > accounts.conf        and in nats-server.conf: include accounts.conf
  $ nats req --user writer --password … --inbox-prefix _INBOX.writer stowage.cmd.main.put hello`

/** `stowage nats-permissions`: needs no node, no server and no network. */
export function natsPermissionsCommand(io: Io): Command {
  return new Command('nats-permissions')
    .description('print accounts and users for nats-server: what nodes and clients may, and nothing else')
    .addOption(settingOption('DOMAIN'))
    .addOption(settingOption('SPACE'))
    .addHelpText('after', examples)
    .action(async (options: Readonly<Record<string, unknown>>) => {
      io.stdout.write(await io.natsPermissions(readConfig(io.env, settingFlags(options)).layout))
    })
}
