import { resolve } from 'node:path'
import type { Command } from 'commander'
import { download } from '../../client/download.ts'
import { resolveReference } from '../../client/reference.ts'
import { AppError } from '../../errors.ts'
import { formatBytes } from '../../lib/units.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
Examples:
  $ stowage get <cid>                       to ./<cid>
  $ stowage get <cid>/photos/a.jpg          to ./a.jpg
  $ stowage get docs/a.txt                  by its name, to ./a.txt
  $ stowage get docs/a.txt@17 -o old.txt    as it was at revision 17
  $ stowage get /ipfs/<cid>/photos -o ./p   a directory, to ./p
  $ stowage get /ipns/docs.example.org      what a domain or a key stands for
  $ stowage get <cid> -o ./p --force        replace ./p`

interface GetOptions {
  readonly output?: string
  readonly force?: boolean
}

export function getCommand(io: Io): Command {
  return clientCommand('get')
    .description('fetch a file or a directory to disk')
    .argument('<cid|name>', 'what to fetch, with a path below it or without')
    .option('-o, --output <path>', 'where to (default: the last name of the path, in this folder)')
    .option('-f, --force', 'replace what is there')
    .addHelpText('after', examples)
    .action((text: string, options: GetOptions, command: Command) =>
      withSession(io, command.optsWithGlobals(), (session) => get(text, options, session)),
    )
}

async function get(text: string, options: GetOptions, session: Session): Promise<void> {
  if (options.output === '-') {
    throw new AppError('REQUEST_INVALID', '`get` writes to disk', { hint: 'use `stowage cat` for stdout' })
  }
  const { path, label, fileName } = await resolveReference(text, session.client, session)
  const name = options.output ?? fileName
  const stat = await session.client.stat(path, session)
  const progress = session.out.progress(`fetching ${name}`, stat.kind === 'directory' ? undefined : stat.size)
  try {
    const fetched = await download(session.client, path, stat, resolve(session.io.cwd, name), {
      force: options.force === true,
      signal: session.signal,
      onProgress: progress.add,
    })
    progress.stop()
    const files = stat.kind === 'directory' ? `${fetched.files} files, ` : ''
    await session.out.result(
      { path: label, cid: stat.cid, kind: stat.kind, output: name, ...fetched },
      `fetched ${printable(name)} (${files}${formatBytes(fetched.bytes)})`,
    )
  } finally {
    progress.stop()
  }
}
