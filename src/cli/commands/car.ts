import { Command } from 'commander'
import { localInput } from '../../client/local-input.ts'
import { outputPlace } from '../../client/output-place.ts'
import { type Resolved, resolveReference } from '../../client/reference.ts'
import type { CarReply } from '../../client/replies.ts'
import { writeOutput } from '../../client/write-output.ts'
import { AppError } from '../../errors.ts'
import { formatBytes } from '../../lib/units.ts'
import type { Io } from '../io.ts'
import { printable } from '../printable.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const importExamples = `
Every block is checked against its CID, and nothing below the roots may be missing. Each root is printed on a line.

Examples:
  $ stowage car import photos.car
  $ stowage car import --partial some-blocks.car
  $ curl -s 'https://example.org/ipfs/<cid>?format=car' | stowage car import -`

const exportExamples = `
Examples:
  $ stowage car export <cid> -o photos.car
  $ stowage car export <cid>/2024 > part.car
  $ stowage car export holidays -o holidays.car    by its name`

interface ImportOptions {
  readonly quiet?: boolean
  readonly partial?: boolean
}

interface ExportOptions {
  readonly output?: string
  readonly force?: boolean
}

export function carCommand(io: Io): Command {
  const importCommand = clientCommand('import')
    .description('add the blocks of a CAR (v1 or v2)')
    .argument('<file>', 'the CAR, or - for stdin')
    .option('-p, --partial', 'take its blocks as they are, also where some are missing, or it names no root')
    .option('-q, --quiet', 'print only CIDs')
    .addHelpText('after', importExamples)
    .action((file: string, options: ImportOptions, command: Command) =>
      withSession(io, command.optsWithGlobals(), (session) => importCar(file, options, session)),
    )
  const exportCommand = clientCommand('export')
    .description('write a CAR (v1) of a DAG')
    .argument('<cid|name>', 'what to export, with a path below it or without')
    .option('-o, --output <file>', 'file or folder to write to (default: stdout, when that is no terminal)')
    .option('-f, --force', 'replace the file that is there')
    .addHelpText('after', exportExamples)
    .action((text: string, options: ExportOptions, command: Command) =>
      withSession(io, command.optsWithGlobals(), (session) => exportCar(text, options, session)),
    )
  return new Command('car')
    .description('take DAGs in and out as CAR files')
    .addCommand(importCommand)
    .addCommand(exportCommand)
    .addHelpText('after', '\nExamples:\n  $ stowage car export <cid> -o a.car\n  $ stowage car import a.car')
}

async function importCar(file: string, { quiet, partial }: ImportOptions, session: Session): Promise<void> {
  const { client, io, out, signal } = session
  const { bytes, body } = localInput(file, io)
  const progress = out.progress(`importing ${file}`, bytes)
  try {
    const reply = await client.putCar(body, { bytes, partial, signal, onProgress: progress.add })
    progress.stop()
    if (out.json) await out.result(reply, '')
    else for (const line of importLines(reply, quiet === true)) await out.result(line, line)
  } finally {
    progress.stop()
  }
}

/** What is missing is said, so that nobody takes a part for the whole. */
function importLines({ roots, blocks, partial, missing }: CarReply, quiet: boolean): string[] {
  if (quiet) return [...roots]
  if (roots.length === 0) return [`imported ${blocks} blocks without a root`]
  const lack =
    missing === null || missing === undefined ? 'blocks' : missing.length === 1 ? '1 block' : `${missing.length} blocks`
  return roots.map((root) => (partial === true ? `imported ${root} (partial, without ${lack})` : `imported ${root}`))
}

async function exportCar(text: string, options: ExportOptions, session: Session): Promise<void> {
  const toFile = options.output !== undefined && options.output !== '-'
  if (!toFile && session.io.stdout.isTTY === true) {
    throw new AppError('REQUEST_INVALID', 'a CAR is binary and stdout is a terminal', { hint: 'name a file with -o' })
  }
  const resolved = await resolveReference(text, session.client, session)
  if (toFile) {
    await exportToFile(resolved, options, session)
    return
  }
  const { path } = resolved
  const progress = session.out.progress('exporting', undefined)
  try {
    const { content } = await session.client.car(path, { signal: session.signal, onProgress: progress.add })
    await session.out.bytes(content)
  } finally {
    progress.stop()
  }
}

async function exportToFile(
  { path, label, fileName }: Resolved,
  { output, force }: ExportOptions,
  { client, io, out, signal }: Session,
): Promise<void> {
  const content = { kind: 'file', name: `${fileName}.car` } as const
  const place = await outputPlace(content, { cwd: io.cwd, output, force: force === true })
  const progress = out.progress(`exporting ${place.shown}`, undefined)
  try {
    const car = await client.car(path, { signal, onProgress: progress.add })
    const bytes = await writeOutput(place, car.content, { signal })
    progress.stop()
    const { shown } = place
    await out.result({ path: label, output: shown, bytes }, `exported ${printable(shown)} (${formatBytes(bytes)})`)
  } finally {
    progress.stop()
  }
}
