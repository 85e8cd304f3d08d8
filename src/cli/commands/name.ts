import { resolve } from 'node:path'
import { Command } from 'commander'
import { localInput, streamInput } from '../../client/local-input.ts'
import { localEntry } from '../../client/local-tree.ts'
import type { NameReply } from '../../client/name-replies.ts'
import type { NameCondition, NameContent } from '../../client/names.ts'
import { resolveReference } from '../../client/reference.ts'
import { AppError, isAppError } from '../../errors.ts'
import type { Io } from '../io.ts'
import { changeText, conflictNotice, versionLine } from '../name-lines.ts'
import { positiveNumber } from '../number-option.ts'
import { printable } from '../printable.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
A name is a path of your choice, like docs/a.txt. Every change of it is an event, and the number of that event is its
revision: name@<revision> and name@<time> are what it was then, and nothing that a name ever stood for is forgotten.

Examples:
  $ stowage name set docs/a.txt --file a.txt             store a file and name it
  $ stowage name set docs/b.txt docs/a.txt               the same content under a second name
  $ stowage name get docs/a.txt                          its CID
  $ stowage name set docs/a.txt <cid> --if-revision 17   only if nobody has changed it since
  $ stowage name history docs/a.txt
  $ stowage name undo docs/a.txt`

interface SetOptions extends NameCondition {
  readonly file?: string
}

export function nameCommand(io: Io): Command {
  return new Command('name')
    .description('give content a name, and change, look up or take back names')
    .addHelpText('after', examples)
    .addCommand(setCommand(io))
    .addCommand(getCommand(io))
    .addCommand(removeCommand(io))
    .addCommand(moveCommand(io))
    .addCommand(historyCommand(io))
    .addCommand(undoCommand(io))
}

function setCommand(io: Io): Command {
  return conditional(clientCommand('set'))
    .description('let a name stand for content')
    .argument('<name>', 'the name, like docs/a.txt')
    .argument('[cid|name]', 'content that is stored already, with a path below it or without')
    .option('-f, --file <file>', 'content from a file, or - for stdin')
    .addHelpText(
      'after',
      '\nExamples:\n  $ stowage name set docs/a.txt <cid>\n  $ date | stowage name set now --file -',
    )
    .action((name: string, reference: string | undefined, options: SetOptions, command: Command) =>
      withSession(io, command.optsWithGlobals(), (session) => set(name, reference, options, session)),
    )
}

function getCommand(io: Io): Command {
  return clientCommand('get')
    .description('print the CID that a name stands for; --json: all of it')
    .argument('<name>', 'the name; name@<revision> or name@<time> for what it was then')
    .addHelpText('after', '\nExamples:\n  $ stowage name get docs/a.txt\n  $ stowage name get docs/a.txt@17 --json')
    .action((name: string, _options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), async (session) => {
        const entry = await session.client.names.get(nameOf(name), session)
        await session.out.result(entry.json, entry.cid)
        if (entry.heads > 1) session.out.notice(conflictNotice(entry))
      }),
    )
}

function removeCommand(io: Io): Command {
  const command = clientCommand('rm').option(
    '--if-revision <n>',
    'only if the name is at this revision',
    positiveNumber,
  )
  return command
    .description('remove a name; what it stood for stays stored')
    .argument('<name>', 'the name')
    .addHelpText(
      'after',
      '\nExamples:\n  $ stowage name rm docs/a.txt\n  $ stowage name undo docs/a.txt   bring it back',
    )
    .action((text: string, options: NameCondition, invoked: Command) =>
      withSession(io, invoked.optsWithGlobals(), async ({ client, out, signal }) => {
        const name = nameOf(text)
        await client.names.remove(name, { ...options, signal })
        await out.result({ name, removed: true }, `removed ${printable(name)}`)
      }),
    )
}

function moveCommand(io: Io): Command {
  return clientCommand('mv')
    .description('rename; nobody sees both names, or neither')
    .argument('<from>', 'the name now')
    .argument('<to>', 'the name to be')
    .option('--replace', 'also when <to> stands for something; its history remains')
    .addHelpText('after', '\nExamples:\n  $ stowage name mv draft.txt docs/final.txt')
    .action((from: string, to: string, options: { readonly replace?: boolean }, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const replace = options.replace === true
        const entry = await client.names
          .rename(nameOf(from), nameOf(to), { replace, signal })
          .catch((error: unknown) => Promise.reject(replace ? error : withReplaceHint(error)))
        await out.result(entry.json, `renamed ${printable(nameOf(from))} to ${changeText(entry)}`)
      }),
    )
}

function historyCommand(io: Io): Command {
  return clientCommand('history')
    .description('list what a name stood for: revision, time, owner, size and CID, the newest last')
    .argument('<name>', 'the name')
    .addHelpText('after', '\nExamples:\n  $ stowage name history docs/a.txt')
    .action((name: string, _options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const versions = await client.names.history(nameOf(name), { signal })
        const several = new Set(versions.map(({ site }) => site)).size > 1
        for (const version of versions) await out.result(version.json, versionLine(version, several))
      }),
    )
}

function undoCommand(io: Io): Command {
  return clientCommand('undo')
    .description('let a name stand for what it was before its last change')
    .argument('<name>', 'the name')
    .option('--revision <n>', 'before this change instead of the last one', positiveNumber)
    .addHelpText(
      'after',
      '\nIt is a change like any other, so an undo can be undone.\n\nExamples:\n  $ stowage name undo docs/a.txt',
    )
    .action((text: string, options: { readonly revision?: number }, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const name = nameOf(text)
        const entry = await client.names.undo(name, options.revision, { signal })
        if (entry === undefined) await out.result({ name, removed: true }, `removed ${printable(name)}, as before`)
        else await out.result(entry.json, `set ${changeText(entry)}`)
      }),
    )
}

function conditional(command: Command): Command {
  return command
    .option('--if-revision <n>', 'only if the name is at this revision', positiveNumber)
    .option('--if-absent', 'only if the name stands for nothing')
}

async function set(text: string, reference: string | undefined, options: SetOptions, session: Session): Promise<void> {
  const { client, out, signal } = session
  const name = nameOf(text)
  const condition = { ifRevision: options.ifRevision, ifAbsent: options.ifAbsent, signal }
  checkSetUsage(reference, options)
  let entry: NameReply
  if (reference === undefined) {
    const content = contentOf(options.file ?? '-', name, session)
    try {
      entry = await client.names.setContent(name, content, condition)
    } finally {
      content.stop()
    }
  } else {
    const { path } = await resolveReference(reference, client, session)
    const cid = path.segments.length === 0 ? path.cid : (await client.stat(path, session)).cid
    entry = await client.names.set(name, cid, condition)
  }
  await out.result(entry.json, `set ${changeText(entry)}`)
}

function checkSetUsage(reference: string | undefined, options: SetOptions): void {
  if (options.ifRevision !== undefined && options.ifAbsent === true) {
    throw new AppError('REQUEST_INVALID', '--if-revision and --if-absent cannot both be true')
  }
  if ((reference === undefined) === (options.file === undefined)) {
    throw new AppError('REQUEST_INVALID', 'a name is set to a CID or a name, or to the content of --file', {
      hint: 'stowage name set <name> <cid>, or stowage name set <name> --file <file|->',
    })
  }
}

function contentOf(file: string, name: string, { io, out }: Session): NameContent & { stop(): void } {
  const stream = streamInput(file, io)
  const entry = stream === undefined ? localEntry(resolve(io.cwd, file), '') : undefined
  if (entry?.kind === 'directory') {
    throw new AppError('REQUEST_INVALID', `${file} is a directory`, {
      hint: `add it under the name: stowage add -r --name ${name} ${file}`,
    })
  }
  const { bytes, body } = stream ?? localInput(file, io)
  const progress = out.progress(`adding ${file}`, bytes)
  return { body, bytes, onProgress: progress.add, stop: progress.stop }
}

/** `name:docs/a` as it may be typed elsewhere is `docs/a`. */
const nameOf = (text: string): string => text.replace(/^name:(?=.)/, '')

function withReplaceHint(error: unknown): unknown {
  if (!isAppError(error, 'REVISION_CONFLICT')) return error
  return new AppError(error.code, error.message, {
    cause: error,
    hint: 'what <to> stands for is replaced with --replace',
  })
}
