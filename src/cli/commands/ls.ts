import type { Command } from 'commander'
import { resolveReference } from '../../client/reference.ts'
import type { EntryReply } from '../../client/replies.ts'
import { formatBytes } from '../../lib/units.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
Each line is a size, a CID and a file name; a directory's ends with /. Names you gave are listed by stowage names.

Examples:
  $ stowage ls <cid>
  $ stowage ls <cid>/photos
  $ stowage ls holidays/photos      by its name
  $ stowage ls <cid> --json | jq -r .name`

export function lsCommand(io: Io): Command {
  return clientCommand('ls')
    .description('list a directory')
    .argument('<cid|name>', 'the directory, with a path below it or without')
    .addHelpText('after', examples)
    .action((text: string, _options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), (session) => ls(text, session)),
    )
}

async function ls(text: string, { client, out, signal }: Session): Promise<void> {
  const { path, fileName } = await resolveReference(text, client, { signal })
  const stat = await client.stat(path, { signal })
  if (stat.kind !== 'directory') {
    await out.result({ name: fileName, ...stat.json }, lineOf({ ...stat, name: fileName }))
    return
  }
  for await (const entry of client.list(path, { signal })) await out.result(entry.json, lineOf(entry))
}

function lineOf(entry: Pick<EntryReply, 'name' | 'cid' | 'kind' | 'size' | 'target'>): string {
  const size = entry.kind === 'missing' ? 'not put' : entry.kind === 'directory' ? '-' : formatBytes(entry.size)
  const slash = entry.kind === 'directory' ? '/' : ''
  const target = entry.kind === 'symlink' && entry.target !== undefined ? ` -> ${printable(entry.target)}` : ''
  return `${size.padStart(10)}  ${entry.cid}  ${printable(entry.name)}${slash}${target}`
}
