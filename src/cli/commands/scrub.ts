import type { Command } from 'commander'
import type { Fields } from '../../client/reply-fields.ts'
import { formatBytes } from '../../lib/units.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { clientCommand, withSession } from '../session.ts'

const examples = `
Each store is read in the background: every block is hashed, and the DAG of every root is walked for what is missing. What
is bad is written again from another copy. A round begins by itself; see STOWAGE_SCRUB_DAYS.

Examples:
  $ stowage scrub                  where it stands
  $ stowage scrub --now            a round of each store of this site, now
  $ stowage scrub --now --store b`

interface Options {
  readonly store?: string
  readonly now?: boolean
  readonly status?: boolean
}

export function scrubCommand(io: Io): Command {
  return clientCommand('scrub')
    .description('look for damaged and missing blocks, and repair them')
    .option('--store <name>', 'this store only')
    .option('--now', 'have a round begin now')
    .option('--status', 'say where it stands (what it does without --now)')
    .addHelpText('after', examples)
    .action((options: Options, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const { store } = options
        const { maintenance } = client
        const state = await (options.now === true
          ? maintenance.scrub({ store, signal })
          : maintenance.scrubStatus({ store, signal }))
        await out.result(state, scrubText(state))
      }),
    )
}

function scrubText({ on, stores, node }: Fields): string {
  const lines = Array.isArray(stores) ? stores.map((store) => storeText(store as Fields)) : []
  const { repaired, lost } = fields(node)
  const end = `this node: ${count(repaired)} blocks repaired, ${count(lost)} objects lost`
  return [...(on === true ? [] : ['scrubbing is off (STOWAGE_SCRUB_BYTES_PER_SECOND=0)']), ...lines, end].join('\n')
}

/** `hub/b  hashing shard 2: 1,024 blocks, 1.0 GiB, 3 bad, 3 repaired` */
function storeText({ site, store, round, last, wanted }: Fields): string {
  const name = printable(`${String(site)}/${String(store)}`)
  const now = fields(round)
  if (round !== undefined && round !== null) {
    const where = now.phase === 'roots' ? 'walking roots' : `hashing shard ${String(now.shard)}`
    return `${name}  ${where}: ${sumsText(now.sums)}`
  }
  if (wanted === true) return `${name}  a round begins soon`
  if (last === undefined || last === null) return `${name}  no full round yet`
  const { finishedAt, sums } = fields(last)
  return `${name}  last full round ${printable(String(finishedAt))}: ${sumsText(sums)}`
}

function sumsText(value: unknown): string {
  const { blocks, bytes, bad, repaired, roots, failedRoots } = fields(value)
  const failed = Number(failedRoots) > 0 ? `, ${count(failedRoots)} roots not whole` : ''
  return (
    `${count(blocks)} blocks, ${formatBytes(Number(bytes))}, ${count(bad)} bad, ${count(repaired)} repaired; ` +
    `${count(roots)} roots verified${failed}`
  )
}

const fields = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {})
const count = (value: unknown): string => Number(value ?? 0).toLocaleString('en')
