import { basename } from 'node:path'
import { Command } from 'commander'
import type { IpnsReply } from '../../client/ipns.ts'
import { readInput } from '../../client/local-input.ts'
import { type OutputOptions, outputPlace } from '../../client/output-place.ts'
import { writeOutput } from '../../client/write-output.ts'
import { AppError } from '../../errors.ts'
import { only } from '../../lib/streams.ts'
import { KiB } from '../../lib/units.ts'
import type { Io } from '../io.ts'
import { positiveNumber } from '../number-option.ts'
import { printable } from '../printable.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
Below /ipns/ are signed records of keys (IPNS) and what domain names stand for (DNSLink). A record is served as long as it
holds; a domain name that is also a name here (stowage name set example.org …) needs no DNSLink of its own.

Examples:
  $ stowage ipns import k51….ipns-record         the key is the file's name up to the first _ or .
  $ stowage ipns link docs.example.org /ipfs/<cid>/docs
  $ stowage ipns publish docs/site --key site    a key of this node follows a name
  $ stowage ipns get k51…
  $ stowage ipns ls`

const recordBytesMax = 64 * KiB

export function ipnsCommand(io: Io): Command {
  return new Command('ipns')
    .description('publish below /ipns/: signed records of keys, and DNSLinks')
    .addHelpText('after', examples)
    .addCommand(publishCommand(io))
    .addCommand(importCommand(io))
    .addCommand(linkCommand(io))
    .addCommand(getCommand(io))
    .addCommand(listCommand(io))
    .addCommand(removeCommand(io))
}

interface PublishOptions {
  readonly key: string
  readonly ttl?: number
  readonly lifetime?: number
}

function publishCommand(io: Io): Command {
  return clientCommand('publish')
    .description('let a key follow a name: its record is signed here, now and after each change')
    .argument('<name>', 'the name, like docs/site')
    .requiredOption('--key <key>', 'a key of this node: its label or its name (stowage key ls)')
    .option('--ttl <seconds>', 'how long readers may keep the answer (default: 300)', positiveNumber)
    .option(
      '--lifetime <seconds>',
      'how long a record holds; it is signed anew before (default: two days)',
      positiveNumber,
    )
    .action((name: string, { key, ttl, lifetime }: PublishOptions, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const asked = { key, ttlSeconds: ttl, lifetimeSeconds: lifetime, signal }
        const reply = await client.ipns.publish(name, asked)
        await out.result(reply.json, line(reply))
      }),
    )
}

function importCommand(io: Io): Command {
  return clientCommand('import')
    .description('take signed IPNS records')
    .argument('<file...>', 'records as other nodes give them out (format=ipns-record)')
    .option('--key <key>', 'whose record it is, where the name of the file does not say')
    .action((files: string[], { key }: { readonly key?: string }, command: Command) =>
      withSession(io, command.optsWithGlobals(), (session) => importRecords(files, key, session)),
    )
}

async function importRecords(files: readonly string[], key: string | undefined, session: Session): Promise<void> {
  const { io, client, out, signal } = session
  if (key !== undefined && files.length > 1) {
    throw new AppError('REQUEST_INVALID', '--key says whose record one file is, not several')
  }
  for (const file of files) {
    const record = await readInput(file, recordBytesMax, io)
    const reply = await client.ipns.importRecord(key ?? keyOfFile(file), record, { signal })
    await out.result(reply.json, `${reply.kept ? 'kept' : 'took'} ${line(reply)}`)
  }
}

/** `k51…_v1.ipns-record` → `k51…` */
const keyOfFile = (file: string): string => basename(file).split(/[_.]/, 1)[0] ?? ''

function linkCommand(io: Io): Command {
  return clientCommand('link')
    .description('say what a domain name stands for')
    .argument('<domain>', 'like docs.example.org')
    .argument('<path>', '/ipfs/<cid>[/path] or /ipns/<name>[/path]')
    .option('--ttl <seconds>', 'how long readers may keep the answer', positiveNumber)
    .action((domain: string, path: string, { ttl }: { readonly ttl?: number }, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        const reply = await client.ipns.setDnsLink(domain, path, { ttlSeconds: ttl, signal })
        await out.result(reply.json, line(reply))
      }),
    )
}

function getCommand(io: Io): Command {
  return clientCommand('get')
    .description('show what a key or a domain name stands for')
    .argument('<name>', 'a key (k51…, 12D3Koo…) or a domain name')
    .option('-o, --output <file>', 'write the signed record to a file, or into a folder')
    .option('-f, --force', 'replace the file that is there')
    .action((name: string, { output, force }: RecordOptions, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ io: { cwd }, client, out, signal }) => {
        const reply = await client.ipns.get(name, { signal })
        if (output !== undefined) await writeRecord(reply, { cwd, output, force: force === true }, signal)
        await out.result(reply.json, line(reply))
      }),
    )
}

interface RecordOptions {
  readonly output?: string
  readonly force?: boolean
}

async function writeRecord({ name, record }: IpnsReply, options: OutputOptions, signal: AbortSignal): Promise<void> {
  if (record === undefined) throw new AppError('REQUEST_INVALID', `${name} has no signed record`)
  const place = await outputPlace({ kind: 'file', name: `${name}.ipns-record` }, options)
  await writeOutput(place, only(record), { signal })
}

function listCommand(io: Io): Command {
  return clientCommand('ls')
    .description('list what is published below /ipns/')
    .action((_options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        for await (const reply of client.ipns.list({ signal })) await out.result(reply.json, line(reply))
      }),
    )
}

function removeCommand(io: Io): Command {
  return clientCommand('rm')
    .description('publish nothing for a key or a domain name any more')
    .argument('<name>', 'a key or a domain name')
    .action((name: string, _options: object, command: Command) =>
      withSession(io, command.optsWithGlobals(), async ({ client, out, signal }) => {
        await client.ipns.remove(name, { signal })
        await out.result({ name, removed: true }, `removed ${printable(name)}`)
      }),
    )
}

/** `k51… -> /ipfs/… (sequence 7, until 2027-…)` */
export function line({ name, value, sequence, validity }: IpnsReply): string {
  const more = sequence === undefined ? '' : ` (sequence ${sequence}, until ${validity ?? '?'})`
  return printable(`${name} -> ${value}${more}`)
}
