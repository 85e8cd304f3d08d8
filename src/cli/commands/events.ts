import type { Command } from 'commander'
import type { EventQuery } from '../../client/events.ts'
import { eventLine } from '../event-line.ts'
import type { Io } from '../io.ts'
import { clientCommand, type Session, withSession } from '../session.ts'
import { parseSince } from '../since.ts'

const examples = `
Each line is an event: its number in the log (of a name's event: the name's revision), time, what happened, owner and subject.
Without --follow: all that happened. With it: from now on, or from --since on, over cut connections too, each event once.

Examples:
  $ stowage events --since 1h
  $ stowage events --follow
  $ stowage events --follow --entity name --prefix docs/
  $ stowage events --correlation 019a7b0e-…     what became of one put, at every site
  $ stowage events --follow --since 17 --json | jq -r .event.subject`

interface EventsOptions extends EventQuery {
  readonly follow?: boolean
}

export function eventsCommand(io: Io): Command {
  return clientCommand('events')
    .description('show what happened, and follow what happens')
    .option('-f, --follow', 'go on with what happens, until it is interrupted')
    .option('--since <when>', 'after an event (17), from a time on (2026-01-31T12:00:00Z), or from so long ago (1h)')
    .option('--entity <entity>', 'only of this kind, like name or object')
    .option('--verb <verb>', 'only this, like set or added')
    .option('--prefix <prefix>', 'only names that begin so')
    .option('--cid <cid>', 'only about this content')
    .option('--owner <owner>', 'only of this person or agent')
    .option('--correlation <id>', 'only of this undertaking: a put, and every copy made for it')
    .addHelpText('after', examples)
    .action((options: EventsOptions, command: Command) =>
      withSession(io, command.optsWithGlobals(), (session) => show(options, session)),
    )
}

async function show(options: EventsOptions, { client, out, signal }: Session): Promise<void> {
  const { follow = false, since, entity, verb, prefix, cid, owner, correlation } = options
  const query = { entity, verb, prefix, cid, owner, correlation, since: sinceOf(since, follow) }
  const events = client.events.follow(query, {
    follow,
    signal,
    onCut: () => out.notice('connection cut, trying again'),
  })
  for await (const event of events) await out.result({ sequence: event.sequence, event: event.json }, eventLine(event))
}

/** Whoever only follows wants to see what happens, not all that has happened. */
function sinceOf(since: string | undefined, follow: boolean): string | undefined {
  if (since !== undefined) return parseSince(since)
  return follow ? 'now' : undefined
}
