import type { Command } from 'commander'
import { resolveReference } from '../../client/reference.ts'
import type { StatReply } from '../../client/replies.ts'
import { formatBytes } from '../../lib/units.ts'
import { formatRfc3339 } from '../../lib/unix-time.ts'
import { factLines } from '../facts.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
Examples:
  $ stowage stat <cid>
  $ stowage stat docs/a.txt
  $ stowage stat <cid>/photos/a.jpg --json`

export function statCommand(io: Io): Command {
  return clientCommand('stat')
    .description('say what a CID or a name leads to')
    .argument('<cid|name>', 'what to look at, with a path below it or without')
    .addHelpText('after', examples)
    .action((text: string, _options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), (session) => stat(text, session)),
    )
}

async function stat(text: string, { client, out, signal }: Session): Promise<void> {
  const { path } = await resolveReference(text, client, { signal })
  const reply = await client.stat(path, { signal })
  await out.result(reply.json, factLines(factsOf(reply)))
}

function factsOf(reply: StatReply): [string, string][] {
  const facts: [string, string][] = [
    ['CID', reply.cid],
    ['kind', reply.kind],
    ['codec', reply.codec],
  ]
  if (reply.kind !== 'directory') facts.push(['size', bytesText(reply.size)])
  facts.push(['links', String(reply.links)], ['root block', bytesText(reply.blockBytes)])
  if (reply.target !== undefined) facts.push(['target', printable(reply.target)])
  if (reply.mode !== undefined) facts.push(['mode', `0${reply.mode.toString(8)}`])
  const time = reply.mtime === undefined ? undefined : formatRfc3339(reply.mtime)
  if (time !== undefined) facts.push(['changed', time])
  return facts
}

function bytesText(bytes: number): string {
  return bytes < 1024 ? `${bytes} bytes` : `${bytes} bytes (${formatBytes(bytes)})`
}
