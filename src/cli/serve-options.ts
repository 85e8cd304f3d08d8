import { Command, Option } from 'commander'
import { flagOf, type SettingFlags, type SettingName, settings } from '../config.ts'

const placeholders: Readonly<Record<string, string>> = {
  bytes: '<size>',
  memory: '<size|auto|off>',
  text: '<text>',
  secret: '<secret>',
  switch: '<on|off>',
}
const names = Object.keys(settings) as SettingName[]

/** One flag for a setting, as every command that takes it shows it. */
export function settingOption(name: SettingName): Option {
  const setting: { readonly kind: string; readonly default?: string; readonly help: string } = settings[name]
  const value = setting.default === undefined ? '' : `, default ${setting.default}`
  const flags = `${flagOf(name)} ${placeholders[setting.kind] ?? `<${setting.kind}>`}`
  return new Option(flags, `${setting.help} (STOWAGE_${name}${value})`)
}

/** The flags that were given, by the name of their setting. */
export function settingFlags(options: Readonly<Record<string, unknown>>): SettingFlags {
  const given = names.map((name) => [name, options[settingOption(name).attributeName()]] as const)
  return Object.fromEntries(given.filter(([, value]) => typeof value === 'string'))
}

/** `stowage serve`: every setting of config.ts is a flag, so that its help is the list of settings. */
export function serveCommand(run: (flags: SettingFlags) => Promise<void>): Command {
  const command = new Command('serve').description('run a node: gateway, API and, unless told otherwise, a nats-server')
  for (const name of names) command.addOption(settingOption(name))
  return command
    .addHelpText(
      'after',
      `
Examples:
  $ stowage serve                                        everything in ./stowage-data, on this machine only
  $ stowage serve --data /srv/stowage --gateway-port 80
  $ stowage serve --nats-url nats://10.0.0.5:4222        on a NATS server that runs already
  $ STOWAGE_LOG=debug stowage serve`,
    )
    .action((options: Readonly<Record<string, unknown>>) => run(settingFlags(options)))
}
