import { Command } from 'commander'
import type { Fields } from '../../client/reply-fields.ts'
import { formatBytes } from '../../lib/units.ts'
import type { Io } from '../io.ts'
import { positiveNumber } from '../number-option.ts'
import { printable } from '../printable.ts'
import { formatSeconds } from '../progress.ts'
import { clientCommand, type Session, withSession } from '../session.ts'
import { tableLines } from '../table.ts'

const siteExamples = `
Examples:
  $ stowage site ls
  $ stowage site remove paris            it left for good: what it held counts no more`

const storeExamples = `
The store that takes puts cannot be drained. To change it, start all nodes of the site with another STOWAGE_STORE (and
STOWAGE_SHARDS), then drain the old one.

Examples:
  $ stowage store ls
  $ stowage store add b --shards 16
  $ stowage store drain b                what lies there is copied away
  $ stowage store rm b                   once it is empty
  $ stowage store reshard b --shards 64  a new store takes over, and b is drained`

type Act = (command: Command, work: (session: Session) => Promise<void>) => Promise<void>

export function siteCommand(io: Io): Command {
  const act: Act = (command, work) => withSession(io, command.optsWithGlobals(), work)
  const ls = clientCommand('ls')
    .description('list the sites of the domain')
    .action((_options: object, command: Command) =>
      act(command, async ({ client, out, signal }) => {
        const sites = await client.places.sites({ signal })
        if (!out.json) return out.result(sites, tableLines(sites.map(siteCells)))
        for (const site of sites) await out.result(site, '')
      }),
    )
  const remove = clientCommand('remove')
    .description('say that a site has left for good')
    .argument('<site>', 'its name')
    .option('--force', 'also when it holds what lies nowhere else, which is lost then')
    .action((site: string, options: { readonly force?: boolean }, command: Command) =>
      act(command, async ({ client, out, signal }) => {
        const reply = await client.places.removeSite(site, { force: options.force === true, signal })
        const lost = Number(reply.rootsOnlyThere)
        const also = lost > 0 ? `; ${lost} objects lay there alone` : ''
        await out.result(reply, `site ${printable(site)} is removed${also}`)
      }),
    )
  return new Command('site')
    .description('list sites, or say that one has left')
    .addCommand(ls)
    .addCommand(remove)
    .addHelpText('after', siteExamples)
}

export function storeCommand(io: Io): Command {
  const act: Act = (command, work) => withSession(io, command.optsWithGlobals(), work)
  const ls = clientCommand('ls')
    .description('list the stores of all sites')
    .option('--all', 'also those that were removed')
    .action((options: { readonly all?: boolean }, command: Command) =>
      act(command, async ({ client, out, signal }) => {
        const all = await client.places.stores({ signal })
        const stores = all.filter(({ state }) => options.all === true || state !== 'removed')
        if (!out.json) return out.result(stores, tableLines(stores.map(storeCells)))
        for (const store of stores) await out.result(store, '')
      }),
    )
  const add = clientCommand('add')
    .description('make a further store at the site of the node, for copies')
    .argument('<store>', 'its name: 1 to 32 letters, digits, _ or -')
    .option('--shards <n>', 'buckets it is split over, a power of two', positiveNumber)
    .action((store: string, { shards }: { readonly shards?: number }, command: Command) =>
      act(command, async ({ client, out, signal }) =>
        tell(out, await client.places.addStore(store, { shards, signal })),
      ),
    )
  const drain = clientCommand('drain')
    .description('have a store emptied: it takes nothing new, and what lies there is copied away')
    .argument('<store>', 'its name')
    .option('--site <site>', 'of another site than that of the node')
    .action((store: string, { site }: { readonly site?: string }, command: Command) =>
      act(command, async ({ client, out, signal }) =>
        tell(out, await client.places.drainStore(store, { site, signal })),
      ),
    )
  const rm = clientCommand('rm')
    .description('remove a store that is empty, with its buckets')
    .argument('<store>', 'its name')
    .action((store: string, _options: object, command: Command) =>
      act(command, async ({ client, out, signal }) => tell(out, await client.places.removeStore(store, { signal }))),
    )
  const reshard = clientCommand('reshard')
    .description('make a store with another number of shards, and drain the old one')
    .argument('<store>', 'the one that is to be replaced')
    .requiredOption('--shards <n>', 'of the new one, a power of two', positiveNumber)
    .option('--to <store>', 'name of the new one (default: the next letter)')
    .action((store: string, options: { readonly shards: number; readonly to?: string }, command: Command) =>
      act(command, async ({ client, out, signal }) => {
        const { shards, to } = options
        await tell(out, await client.places.reshardStore(store, { shards, to, signal }))
      }),
    )
  const command = new Command('store').description('list, add, drain, remove and re-shard stores')
  for (const one of [ls, add, drain, rm, reshard]) command.addCommand(one)
  return command.addHelpText('after', storeExamples)
}

/** Each store that was changed, as it is now. */
async function tell(out: Session['out'], stores: readonly Fields[]): Promise<void> {
  for (const store of stores) {
    const { site, store: name, state, shards } = store
    await out.result(store, printable(`${String(site)}/${String(name)} is ${String(state)}, ${String(shards)} shards`))
  }
}

function siteCells({ site, state, up, here, silenceMs, labels, stores }: Fields): string[] {
  const silence = typeof silenceMs === 'number' ? `heard ${formatSeconds(silenceMs / 1000)} ago` : 'not heard'
  const reach = state === 'removed' ? 'removed' : up === true ? 'up' : 'down'
  const marks = Object.entries((labels ?? {}) as Fields).map(([name, value]) => `${name}=${String(value)}`)
  const names = Array.isArray(stores) ? stores.join(',') : ''
  return [String(site), reach, here === true ? 'this site' : silence, `stores ${names}`, marks.join(',')]
}

function storeCells({ site, store, state, up, primary, shards, replicas, usedBytes, freeBytes }: Fields): string[] {
  const free = typeof freeBytes === 'number' ? `${formatBytes(freeBytes)} free` : ''
  return [
    `${String(site)}/${String(store)}`,
    String(state),
    up === true ? 'up' : 'down',
    primary === true ? 'takes puts' : '',
    `${String(shards)} shards`,
    `${String(replicas)} replica(s)`,
    `${formatBytes(Number(usedBytes ?? 0))} used`,
    free,
  ]
}
