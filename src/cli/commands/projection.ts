import { Command } from 'commander'
import { isCid } from '../../client/content-path.ts'
import type { ProjectionReply } from '../../client/projections.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
A projection says that something at a site shows content: a website, a service. That content is brought there unasked, as
long as a rule of the policy has projections among what it keeps copies near to (without a policy, it does).

Examples:
  $ stowage projection add blog --site paris blog/        all names below blog/
  $ stowage projection add logo --site paris img/logo     one name, whatever it stands for
  $ stowage projection add film --site paris <cid>
  $ stowage projection rm blog                            its copies at paris go again`

export function projectionCommand(io: Io): Command {
  const command = new Command('projection')
    .description('say what is shown where, so that its content is there')
    .addHelpText('after', examples)
  const add = clientCommand('add')
    .description('register what a consumer shows at a site, or change it')
    .argument('<id>', 'of the consumer')
    .argument('<name|prefix/|cid>', 'what it shows')
    .requiredOption('--site <site>', 'where it is')
    .action((id: string, what: string, options: { readonly site: string }, self: Command) =>
      withSession(io, self.optsWithGlobals(), async ({ client, out, signal }) => {
        const subject = isCid(what) ? { cid: what } : { name: what }
        const reply = await client.projections.set({ id, site: options.site, ...subject }, { signal })
        await out.result(reply, lineOf(reply))
      }),
    )
  const ls = clientCommand('ls')
    .description('list projections')
    .action((_options: object, self: Command) => withSession(io, self.optsWithGlobals(), list))
  const rm = clientCommand('rm')
    .description('end a projection')
    .argument('<id>', 'of the consumer')
    .action((id: string, _options: object, self: Command) =>
      withSession(io, self.optsWithGlobals(), async ({ client, out, signal }) => {
        const reply = await client.projections.remove(id, { signal })
        await out.result({ ...reply, removed: true }, `removed ${lineOf(reply)}`)
      }),
    )
  for (const one of [add, ls, rm]) command.addCommand(one)
  return command
}

async function list({ client, out, signal }: Session): Promise<void> {
  for (const projection of await client.projections.list({ signal })) await out.result(projection, lineOf(projection))
}

const lineOf = ({ id, site, name, cid }: ProjectionReply) =>
  `${printable(id)} at ${printable(site)}: ${printable(name ?? cid ?? '')}`
