import { resolve } from 'node:path'
import type { Command } from 'commander'
import { fileError } from '../../client/local-tree.ts'
import { writeDurably } from '../../lib/durable-file.ts'
import type { Io } from '../io.ts'
import { placementTable } from '../placement-table.ts'
import { clientCommand, withSession } from '../session.ts'

const examples = `
Copies of all roots, added up; some seconds old. What one object has: stowage status <cid>.

Examples:
  $ stowage placement
  $ stowage placement --svg placement.svg
  $ stowage placement --json | jq .roots`

export function placementCommand(io: Io): Command {
  return clientCommand('placement')
    .description('show where copies lie: sites, stores and what is in them')
    .option('--svg <file>', 'write it as a picture')
    .addHelpText('after', examples)
    .action((options: { readonly svg?: string }, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const { svg } = options
        if (svg === undefined) {
          const summary = await client.placement.summary({ signal })
          await out.result(summary, placementTable(summary))
          return
        }
        const picture = await client.placement.picture({ signal })
        const file = resolve(io.cwd, svg)
        await writeDurably(file, picture).catch((cause: unknown) => Promise.reject(fileError(file, cause)))
        await out.result({ file, bytes: Buffer.byteLength(picture) }, file)
      }),
    )
}
