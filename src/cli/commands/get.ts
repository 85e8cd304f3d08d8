import type { Command } from 'commander'
import { download } from '../../client/download.ts'
import { outputPlace } from '../../client/output-place.ts'
import { resolveReference } from '../../client/reference.ts'
import { AppError } from '../../errors.ts'
import { formatBytes } from '../../lib/units.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
-o names the target, or a folder to put it into (for a directory: with a slash at the end, or . or ..). A device or a pipe is
written into. --force replaces a file by a file and a link by a link; of a folder it replaces what has the same name, and
what else is in there stays. Until all has arrived nothing is changed.

Examples:
  $ stowage get <cid>                       to ./<cid>
  $ stowage get <cid>/photos/a.jpg          to ./a.jpg
  $ stowage get docs/a.txt                  by its name, to ./a.txt
  $ stowage get docs/a.txt@17 -o old.txt    as it was at revision 17
  $ stowage get /ipfs/<cid>/photos -o ./p   a directory, to ./p
  $ stowage get /ipns/docs.example.org      what a domain or a key stands for
  $ stowage get /ipfs/<cid>/photos -o ~/p/  a directory, to ~/p/photos
  $ stowage get <cid> -o ./p --force        replace in ./p what the content has`

interface GetOptions {
  readonly output?: string
  readonly force?: boolean
}

export function getCommand(io: Io): Command {
  return clientCommand('get')
    .description('fetch a file or a directory to disk')
    .argument('<cid|name>', 'what to fetch, with a path below it or without')
    .option('-o, --output <path>', 'file or folder to write to (default: the last name of the path, in this folder)')
    .option('-f, --force', 'replace what is there, if it is of the same kind')
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
  const stat = await session.client.stat(path, session)
  const kind = stat.kind === 'node' ? 'file' : stat.kind
  const force = options.force === true
  const place = await outputPlace({ kind, name: fileName }, { cwd: session.io.cwd, output: options.output, force })
  const progress = session.out.progress(`fetching ${place.shown}`, stat.kind === 'directory' ? undefined : stat.size)
  try {
    const fetched = await download(session.client, path, stat, place, {
      signal: session.signal,
      onProgress: progress.add,
    })
    progress.stop()
    const files = stat.kind === 'directory' ? `${fetched.files} files, ` : ''
    await session.out.result(
      { path: label, cid: stat.cid, kind: stat.kind, output: place.shown, ...fetched },
      `fetched ${printable(place.shown)} (${files}${formatBytes(fetched.bytes)})`,
    )
  } finally {
    progress.stop()
  }
}
