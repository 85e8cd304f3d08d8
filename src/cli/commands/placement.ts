import type { Command } from 'commander'
import { outputPlace } from '../../client/output-place.ts'
import { writeOutput } from '../../client/write-output.ts'
import { only } from '../../lib/streams.ts'
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
    .option('--svg <file>', 'write it as a picture, to a file or into a folder')
    .option('-f, --force', 'replace the file that is there')
    .addHelpText('after', examples)
    .action(({ svg, force }: { readonly svg?: string; readonly force?: boolean }, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ io: { cwd }, client, out, signal }) => {
        if (svg === undefined) {
          const summary = await client.placement.summary({ signal })
          await out.result(summary, placementTable(summary))
          return
        }
        const content = { kind: 'file', name: 'placement.svg' } as const
        const place = await outputPlace(content, { cwd, output: svg, force: force === true })
        const picture = Buffer.from(await client.placement.picture({ signal }))
        const bytes = await writeOutput(place, only(picture), { signal })
        await out.result({ file: place.file, bytes }, place.file)
      }),
    )
}
