import { Command } from 'commander'
import type { KeyReply } from '../../client/keys.ts'
import { readInput } from '../../client/local-input.ts'
import { outputPlace } from '../../client/output-place.ts'
import { writeOutput } from '../../client/write-output.ts'
import { only } from '../../lib/streams.ts'
import { KiB } from '../../lib/units.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { clientCommand, withSession } from '../session.ts'

const examples = `
A key signs IPNS records for a name (stowage ipns publish). It is kept sealed, and its name is what /ipns/ is asked for.

Examples:
  $ stowage key gen site
  $ stowage key ls
  $ stowage key export site -o site.pem          anybody who has the file can publish in its name`

const pemBytesMax = 16 * KiB

export function keyCommand(io: Io): Command {
  return new Command('key')
    .description('keys that sign IPNS records')
    .addHelpText('after', examples)
    .addCommand(generateCommand(io))
    .addCommand(listCommand(io))
    .addCommand(removeCommand(io))
    .addCommand(exportCommand(io))
    .addCommand(importCommand(io))
}

function generateCommand(io: Io): Command {
  return clientCommand('gen')
    .description('make an Ed25519 key')
    .argument('<label>', 'what to call it')
    .action((label: string, _options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const key = await client.keys.generate(label, { signal })
        await out.result(key.json, line(key))
      }),
    )
}

function listCommand(io: Io): Command {
  return clientCommand('ls')
    .description('list the keys')
    .action((_options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        for (const key of await client.keys.list({ signal })) await out.result(key.json, line(key))
      }),
    )
}

function removeCommand(io: Io): Command {
  return clientCommand('rm')
    .description('remove a key; what it has signed holds as long as it says')
    .argument('<label>', 'what it is called')
    .action((label: string, _options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        await client.keys.remove(label, { signal })
        await out.result({ label, removed: true }, `removed ${printable(label)}`)
      }),
    )
}

function exportCommand(io: Io): Command {
  return clientCommand('export')
    .description('write the private key to a file, in clear (PEM, PKCS#8)')
    .argument('<label>', 'what it is called')
    .requiredOption('-o, --output <file>', 'a new file, readable by you alone')
    .action((label: string, { output }: { readonly output: string }, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        // Looked at first: no key leaves the node for nothing.
        const place = await outputPlace(
          { kind: 'file', name: `${label}.pem` },
          { cwd: io.cwd, output, force: undefined },
        )
        const pem = Buffer.from(await client.keys.export(label, { signal }))
        await writeOutput(place, only(pem), { signal, mode: 0o600 })
        await out.result({ label, file: place.file }, `wrote ${printable(place.shown)}`)
      }),
    )
}

function importCommand(io: Io): Command {
  return clientCommand('import')
    .description('take an Ed25519 key from a file (PEM, PKCS#8, not encrypted)')
    .argument('<label>', 'what to call it')
    .argument('<file>', 'as `stowage key export` and `ipfs key export --format=pem-pkcs8-cleartext` write it')
    .action((label: string, file: string, _options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const pem = Buffer.from(await readInput(file, pemBytesMax, io)).toString('utf8')
        const key = await client.keys.import(label, pem, { signal })
        await out.result(key.json, line(key))
      }),
    )
}

const line = ({ label, name }: KeyReply): string => printable(`${name}  ${label}`)
