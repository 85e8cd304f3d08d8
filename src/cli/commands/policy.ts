import { Command } from 'commander'
import type { NameCondition } from '../../client/names.ts'
import type { Fields } from '../../client/reply-fields.ts'
import { AppError } from '../../errors.ts'
import type { Io } from '../io.ts'
import { readJsonFile } from '../json-file.ts'
import { positiveNumber } from '../number-option.ts'
import { clientCommand, type Session, withSession } from '../session.ts'
import { parseSince } from '../since.ts'
import { tableLines } from '../table.ts'
import { backtestCommand, planCommand } from './policy-plan.ts'

const examples = `
A policy says how many copies of what are to lie where; the domain does the rest in the background. It is a JSON document
of rules, of which the first that fits is the one:

  {"version": 1, "rules": [
    {"name": "pictures", "when": {"starts_with": [{"var": "mediaType"}, "image/"]}, "copies": 2, "sites": ["region=eu"]},
    {"name": "all", "copies": {"min": 3, "max": 4}, "near": ["projections"]}
  ]}

Examples:
  $ stowage policy check policy.json             every problem of it, without setting it
  $ stowage policy plan --policy policy.json     what it would do: steps, bytes, time
  $ stowage policy set policy.json
  $ stowage policy history
  $ stowage policy undo`

type SetOptions = NameCondition

export function policyCommand(io: Io): Command {
  const act = (command: Command, work: (session: Session) => Promise<void>) =>
    withSession(io, command.optsWithGlobals(), work)
  const set = clientCommand('set')
    .description('set the policy')
    .argument('<file>', 'the document, or - for stdin')
    .option('--if-revision <n>', 'only if the policy is at this revision', positiveNumber)
    .option('--if-absent', 'only if none was set')
    .action((file: string, { ifRevision, ifAbsent }: SetOptions, command: Command) =>
      act(command, async (session) => {
        if (ifRevision !== undefined && ifAbsent === true) {
          throw new AppError('REQUEST_INVALID', '--if-revision and --if-absent cannot both be true')
        }
        const { client, config, out, signal } = session
        const document = await readJsonFile(file, session)
        const reply = await client.policies.set(config.layout.space, document, { ifRevision, ifAbsent, signal })
        await out.result(reply, `the policy is set: ${summary(reply)}`)
      }),
    )
  const get = clientCommand('get')
    .description('print the policy')
    .option('--at <when>', 'as it was: a revision (17), a time (2026-01-31) or how long ago (2d)')
    .action((options: { readonly at?: string }, command: Command) =>
      act(command, async ({ client, config, out, signal }) => {
        const at = options.at === undefined ? undefined : parseSince(options.at)
        const reply = await client.policies.get(config.layout.space, { at, signal })
        await out.result(reply, JSON.stringify(reply.policy, null, 2))
      }),
    )
  const history = clientCommand('history')
    .description('list the policies that were set: revision, time, site, owner and rules, the newest last')
    .action((_options: object, command: Command) =>
      act(command, async ({ client, config, out, signal }) => {
        const versions = await client.policies.history(config.layout.space, { signal })
        if (!out.json) {
          if (versions.length > 0) await out.result(versions, tableLines(versions.map(versionCells)))
          return
        }
        for (const version of versions) await out.result(version, '')
      }),
    )
  const undo = clientCommand('undo')
    .description('set the policy that was there before the last change, by a new event')
    .option('--revision <n>', 'before this change instead', positiveNumber)
    .action(({ revision }: { readonly revision?: number }, command: Command) =>
      act(command, async ({ client, config, out, signal }) => {
        const reply = await client.policies.undo(config.layout.space, { revision, signal })
        await out.result(reply, `the policy is set back: ${summary(reply)}`)
      }),
    )
  const check = clientCommand('check')
    .description('find every problem of a document; nothing is set')
    .argument('<file>', 'the document, or - for stdin')
    .action((file: string, _options: object, command: Command) =>
      act(command, async (session) => {
        const { client, config, out, signal } = session
        const document = await readJsonFile(file, session)
        const reply = await client.policies.check(config.layout.space, document, { signal })
        await out.result(reply, 'the document is a policy')
      }),
    )
  const command = new Command('policy').description('say how many copies of what are to lie where')
  for (const one of [set, get, history, undo, check, planCommand(io), backtestCommand(io)]) command.addCommand(one)
  return command.addHelpText('after', examples)
}

const summary = (version: Fields): string => `revision ${String(version.revision)}, ${rulesText(version)}`

function rulesText({ policy }: Fields): string {
  const { rules } = (policy ?? {}) as { readonly rules?: readonly { readonly name?: string }[] }
  return `rules ${(rules ?? []).map(({ name }) => name).join(', ')}`
}

function versionCells(version: Fields): string[] {
  const { revision, time, site, owner, undoes } = version
  const back = undoes === undefined ? '' : ` (takes back ${String(undoes)})`
  return [String(revision), String(time), String(site), String(owner), `${rulesText(version)}${back}`]
}
