import type { Command } from 'commander'
import { resolveReference } from '../../client/reference.ts'
import { AppError } from '../../errors.ts'
import type { Io } from '../io.ts'
import { nameLine } from '../name-lines.ts'
import { positiveNumber } from '../number-option.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
Each line is a revision, a size, a CID and a name, in the order of the names.

Examples:
  $ stowage names
  $ stowage names docs/ --limit 20
  $ stowage names --cid <cid>          who names this content
  $ stowage names --json | jq -r .name`

interface NamesOptions {
  readonly cid?: string
  readonly limit?: number
}

export function namesCommand(io: Io): Command {
  return clientCommand('names')
    .description('list names')
    .argument('[prefix]', 'how they begin, like docs/')
    .option('--cid <cid>', 'only names of this content')
    .option('--limit <n>', 'at most so many', positiveNumber)
    .addHelpText('after', examples)
    .action((prefix: string | undefined, options: NamesOptions, command: Command) =>
      withSession(io, command.optsWithGlobals(), (session) => list(prefix ?? '', options, session)),
    )
}

async function list(prefix: string, { cid, limit }: NamesOptions, { client, out, signal }: Session): Promise<void> {
  if (cid === undefined) {
    for await (const entry of client.names.list(prefix, { limit, signal }))
      await out.result(entry.json, nameLine(entry))
    return
  }
  const { path } = await resolveReference(cid, client, { signal })
  if (path.segments.length > 0) throw new AppError('REQUEST_INVALID', '--cid takes a CID, without a path below it')
  let left = limit ?? Number.POSITIVE_INFINITY
  for await (const entry of client.names.ofCid(path.cid, { signal })) {
    if (!entry.name.startsWith(prefix)) continue
    await out.result(entry.json, nameLine(entry))
    if (--left === 0) return
  }
}
