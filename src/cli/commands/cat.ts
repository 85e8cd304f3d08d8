import type { Command } from 'commander'
import { resolveReference } from '../../client/reference.ts'
import type { StatReply } from '../../client/replies.ts'
import { AppError } from '../../errors.ts'
import type { Io } from '../io.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
Examples:
  $ stowage cat <cid>
  $ stowage cat docs/a.txt                      by its name
  $ stowage cat docs/a.txt@2026-01-31T12:00:00Z as it was then
  $ stowage cat /ipns/docs.example.org/a.txt    what a domain or a key stands for
  $ stowage cat <cid>/docs/readme.md | less`

export function catCommand(io: Io): Command {
  return clientCommand('cat')
    .description('write the content of a file to stdout')
    .argument('<cid|name>', 'what to read, with a path below it or without')
    .addHelpText('after', examples)
    .action((text: string, _options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), (session) => cat(text, session)),
    )
}

async function cat(text: string, session: Session): Promise<void> {
  const { path, label } = await resolveReference(text, session.client, session)
  const stat = await session.client.stat(path, session)
  checkIsContent(stat, label)
  // On a terminal the content itself shows how far it is.
  const progress = session.io.stdout.isTTY === true ? undefined : session.out.progress('reading', stat.size)
  try {
    const { content } = await session.client.read(path, {
      signal: session.signal,
      raw: stat.kind === 'node',
      onProgress: progress?.add,
    })
    await session.out.bytes(content)
  } finally {
    progress?.stop()
  }
}

function checkIsContent(stat: StatReply, name: string): void {
  if (stat.kind === 'directory') {
    throw new AppError('REQUEST_INVALID', `${name} is a directory`, {
      hint: 'see it with `stowage ls`, fetch it with `stowage get`',
    })
  }
  if (stat.kind === 'symlink') {
    throw new AppError('REQUEST_INVALID', `${name} is a symlink to ${stat.target ?? 'somewhere'}`, {
      hint: 'links are not followed; name what it points to',
    })
  }
}
