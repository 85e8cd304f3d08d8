import type { Command } from 'commander'
import { parseContentPath } from '../../client/content-path.ts'
import { AppError } from '../../errors.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
It is refused while names stand for it, unless --force removes them too. Only a root goes out of view: its blocks may be
part of other content. To remove a name alone: stowage name rm.

Examples:
  $ stowage rm <cid>
  $ stowage rm --force <cid>`

export function rmCommand(io: Io): Command {
  return clientCommand('rm')
    .description('take content out of view')
    .argument('<cid>', 'its root')
    .option('-f, --force', 'with all names that stand for it')
    .addHelpText('after', examples)
    .action((text: string, options: { readonly force?: boolean }, command: Command) =>
      withSession(io, command.optsWithGlobals(), (session) => remove(text, options.force === true, session)),
    )
}

async function remove(text: string, force: boolean, { client, out, signal }: Session): Promise<void> {
  const { cid, segments } = rootOf(text)
  if (segments.length > 0) throw new AppError('REQUEST_INVALID', 'content goes by its root, without a path below it')
  const reply = await client.maintenance.deleteObject(cid, { force, signal })
  const names = Array.isArray(reply.namesRemoved) ? reply.namesRemoved.map((name) => printable(String(name))) : []
  const too = names.length === 0 ? '' : `, and the ${names.length === 1 ? 'name' : 'names'} ${names.join(', ')}`
  await out.result(reply, `removed ${cid}${too}`)
}

function rootOf(text: string) {
  try {
    return parseContentPath(text)
  } catch (cause) {
    throw new AppError('CID_INVALID', `not a CID: ${JSON.stringify(text)}`, {
      cause,
      hint: 'a name is removed with `stowage name rm`; `stowage name get` says what it stands for',
    })
  }
}
