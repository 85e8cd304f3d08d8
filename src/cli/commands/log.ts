import { Command } from 'commander'
import { AppError } from '../../errors.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { clientCommand, withSession } from '../session.ts'

const examples = `
The event log is the truth: names, deletions, policies and copies are folded from it. When it lost events (a damaged disk, an
older copy put back) nothing is written any more until somebody decides.

Examples:
  $ stowage log status                   whether it is whole, and what was lost
  $ stowage log accept-loss --restore    go on, and say again what the indexes still know
  $ stowage log accept-loss --drop       go on with what the log still says`

type Fields = Readonly<Record<string, unknown>>

export function logCommand(io: Io): Command {
  const status = clientCommand('status')
    .description('whether the event log is whole, and what was lost')
    .addHelpText('after', examples)
    .action((_options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const report = await client.maintenance.logStatus({ signal })
        await out.result(report, statusText(report))
      }),
    )
  const accept = clientCommand('accept-loss')
    .description('begin a new epoch of a log that lost events')
    .option('--restore', 'say again, in new events, what the indexes still know')
    .option('--drop', 'keep only what the log still says')
    .addHelpText('after', examples)
    .action((options: { readonly restore?: boolean; readonly drop?: boolean }, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        if ((options.restore === true) === (options.drop === true)) {
          throw new AppError('REQUEST_INVALID', 'say either --restore or --drop', {
            hint: '`stowage log status` lists what was lost',
          })
        }
        const report = await client.maintenance.acceptLoss({ restore: options.restore === true, signal })
        await out.result(report, acceptedText(report))
      }),
    )
  return new Command('log')
    .description('the event log: whether it is whole, and what to do when it is not')
    .addCommand(status)
    .addCommand(accept)
    .addHelpText('after', examples)
}

function statusText({ fault, last, epoch, lost }: Fields): string {
  if (fault === undefined || fault === null)
    return `the event log is whole: ${Number(last)} events, epoch ${String(epoch)}`
  const { message } = fault as Fields
  return [printable(String(message)), ...lossLines(lost)].join('\n')
}

function acceptedText({ epoch, lost, restored }: Fields): string {
  const end = restored === true ? 'said again in new events' : 'dropped'
  return [...lossLines(lost), `a new epoch has begun: ${String(epoch)}; what was lost was ${end}`].join('\n')
}

/** Each thing on a line, then how many there are. */
function lossLines(lost: unknown): string[] {
  const { count, examples: found } = (lost ?? {}) as Fields
  const lines = Array.isArray(found) ? found.map(lossText) : []
  return [
    ...lines,
    `${Number(count)} ${count === 1 ? 'thing' : 'things'} that the indexes know and the log does not say`,
  ]
}

function lossText(one: unknown): string {
  const { kind, about, cid } = one as Fields
  return printable(`${String(kind).padEnd(12)}  ${String(about)}${cid === undefined ? '' : `  ${String(cid)}`}`)
}
