import { basename, resolve } from 'node:path'
import type { Command } from 'commander'
import type { PutOptions } from '../../client/client.ts'
import { readFile } from '../../client/local-file.ts'
import { isStdin, type LocalInput, streamInput } from '../../client/local-input.ts'
import { type LocalEntry, localEntry, scanTree } from '../../client/local-tree.ts'
import type { NameCondition } from '../../client/names.ts'
import type { PutReply } from '../../client/replies.ts'
import { tarBytes, tarStream } from '../../client/tar-stream.ts'
import { AppError } from '../../errors.ts'
import { formatSeconds } from '../../lib/unix-time.ts'
import type { Io } from '../io.ts'
import { changeText } from '../name-lines.ts'
import { positiveNumber } from '../number-option.ts'
import { printable } from '../printable.ts'
import type { Progress } from '../progress.ts'
import { clientCommand, type Session, withSession } from '../session.ts'

const examples = `
What begins with a dot is left out below a directory unless --hidden is given. Symlinks below a directory are kept
as links; a symlink given as a path is followed.

Examples:
  $ stowage add report.pdf                      added <cid> report.pdf
  $ stowage add -r ./photos ./music             each on a line
  $ stowage add -r --wrap ./photos notes.txt    both in one directory
  $ stowage add --name docs/report report.pdf   with a name: stowage cat docs/report
  $ stowage add -r --name holidays ./photos     a directory with a name: stowage ls holidays
  $ tar c . | stowage add --as all.tar -        from a pipe, as a file in a directory
  $ stowage add --wait policy report.pdf        when all copies that the policy wants are verified
  $ cid=$(stowage add -q report.pdf)            the CID alone`

interface AddOptions extends NameCondition {
  readonly recursive?: boolean
  readonly name?: string
  readonly as?: string
  readonly wrap?: boolean
  readonly hidden?: boolean
  readonly mode?: boolean
  readonly mtime?: boolean
  readonly profile?: string
  readonly chunk?: string
  readonly rawLeaves?: boolean
  readonly trickle?: boolean
  readonly quiet?: boolean
  readonly wait?: string
  readonly waitTimeout?: number
}

export function addCommand(io: Io): Command {
  return clientCommand('add')
    .description('add files and directories, and print their CIDs')
    .argument('[paths...]', 'files, directories with -r, pipes, or - for stdin')
    .option('-r, --recursive', 'add directories with all that is in them')
    .option('-q, --quiet', 'print only CIDs')
    .option('-n, --name <name>', 'let this name stand for it, from the same moment on')
    .option('--if-revision <n>', 'with --name: only if it is at this revision', positiveNumber)
    .option('--if-absent', 'with --name: only if it stands for nothing')
    .option('--as <filename>', 'put the content into a directory, as this file')
    .option('-w, --wrap', 'put all the paths into one directory')
    .option('--hidden', 'also what begins with a dot')
    .option('--mode', 'keep permission bits (changes the CID; leaves are not raw then)')
    .option('--mtime', 'keep times of change (changes the CID; leaves are not raw then)')
    .option('--profile <name>', 'CID profile: unixfs-v1-2025 (default) or unixfs-v0-2015')
    .option('--chunk <size>', 'bytes of a chunk, like 256KiB (default: of the profile)')
    .option('--raw-leaves', 'leaves as raw blocks (default: of the profile)')
    .option('--no-raw-leaves', 'leaves as UnixFS nodes')
    .option(
      '--wait <level>',
      'answer when so many copies are verified: policy, local, or a number (default: of the rule)',
    )
    .option('--wait-timeout <seconds>', 'wait no longer; what was added stays added', positiveNumber)
    .option('--trickle', 'trickle layout instead of balanced')
    .addHelpText('after', examples)
    .action((paths: string[], options: AddOptions, command: Command) => {
      const all: Readonly<Record<string, unknown>> = command.optsWithGlobals()
      return withSession(io, all, (session) => add(paths, options, session))
    })
}

/** One upload: what it is called, and how it is sent. */
interface Upload {
  readonly name: string
  readonly totalBytes: number | undefined
  send(put: PutOptions): Promise<PutReply>
}

async function add(paths: readonly string[], options: AddOptions, session: Session): Promise<void> {
  checkUsage(paths, options, session)
  // Everything is looked at before the first byte is sent: a typing error in the last path costs nothing.
  for (const upload of planned(paths.length === 0 ? ['-'] : paths, options, session)) {
    const progress = session.out.progress(`adding ${upload.name}`, upload.totalBytes)
    const reply = await send(upload, options, progress, session)
    const { cid, size, blocks, newBlocks, name, copies, provisional } = reply
    const named = name === undefined ? '' : `\nset ${changeText(name)}`
    const line = options.quiet === true ? cid : `added ${cid} ${printable(upload.name)}${named}`
    const entry = name === undefined ? {} : { entry: name.json }
    const spread = copies === undefined ? {} : { copies, provisional }
    await session.out.result({ cid, name: upload.name, size, blocks, newBlocks, ...entry, ...spread }, line)
    if (provisional === true && copies !== undefined) {
      session.out.notice(`${cid} has ${copies.verified} of ${copies.wanted} copies yet; see stowage status ${cid}`)
    }
  }
}

function checkUsage(paths: readonly string[], options: AddOptions, { io }: Session): void {
  if (options.wait !== undefined && !/^(policy|local|[1-9]\d?)$/.test(options.wait)) {
    throw new AppError('REQUEST_INVALID', '--wait is policy, local or a number of copies')
  }
  const stdinIsTerminal = (io.stdin as { readonly isTTY?: boolean }).isTTY === true
  if (paths.length === 0 && stdinIsTerminal) {
    throw new AppError('REQUEST_INVALID', 'nothing to add', { hint: 'name files, directories with -r, or - for stdin' })
  }
  if (paths.filter(isStdin).length > 1) throw new AppError('REQUEST_INVALID', 'stdin can be added once')
  checkNameUsage(paths, options)
  if (options.as === undefined) return
  if (paths.length > 1) throw new AppError('REQUEST_INVALID', '--as is for one thing, and several paths were given')
  if (options.as === '' || options.as === '.' || options.as === '..' || /[/\0]/.test(options.as)) {
    throw new AppError('REQUEST_INVALID', `--as ${JSON.stringify(options.as)} is not a file name`)
  }
}

function checkNameUsage(paths: readonly string[], options: AddOptions): void {
  const conditions = options.ifRevision !== undefined || options.ifAbsent === true
  if (options.name === undefined && conditions) {
    throw new AppError('REQUEST_INVALID', '--if-revision and --if-absent go with --name')
  }
  if (options.ifRevision !== undefined && options.ifAbsent === true) {
    throw new AppError('REQUEST_INVALID', '--if-revision and --if-absent cannot both be true')
  }
  if (options.name !== undefined && paths.length > 1 && options.wrap !== true) {
    throw new AppError('REQUEST_INVALID', '--name names one thing, and several paths were given', {
      hint: 'put them into one directory with --wrap',
    })
  }
}

async function send(upload: Upload, options: AddOptions, progress: Progress, session: Session): Promise<PutReply> {
  try {
    return await upload.send({
      name: options.name,
      ifRevision: options.ifRevision,
      ifAbsent: options.ifAbsent,
      profile: options.profile,
      chunk: options.chunk,
      rawLeaves: options.rawLeaves,
      trickle: options.trickle,
      wait: options.wait,
      waitSeconds: options.waitTimeout,
      signal: session.signal,
      onProgress: progress.add,
    })
  } finally {
    progress.stop()
  }
}

function planned(paths: readonly string[], options: AddOptions, session: Session): Upload[] {
  const { cwd } = session.io
  const entryOf = (path: string) => localEntry(resolve(cwd, path), options.as ?? basename(resolve(cwd, path)))
  const wrap = options.wrap === true || options.as !== undefined
  const streams = new Map(paths.map((path) => [path, streamInput(path, session.io)]))
  if (paths.some((path) => streams.get(path) !== undefined)) {
    if (options.wrap === true && (paths.length > 1 || options.as === undefined)) {
      throw new AppError('REQUEST_INVALID', 'stdin or a pipe needs --as to be wrapped, and is wrapped alone')
    }
  } else if (wrap) {
    const entries = paths.map((path) => checkedDirectory(entryOf(path), path, options))
    const name = options.as ?? (paths.length === 1 ? (entries[0]?.path ?? '') : `${paths.length} paths`)
    return [treeUpload(name, entries, options, session)]
  }
  return paths.map((path) => {
    const stream = streams.get(path)
    if (stream !== undefined) return streamUpload(path, stream, options, session)
    const entry = checkedDirectory(entryOf(path), path, options)
    if (entry.kind === 'file') return fileUpload(path, entry, options, session)
    return treeUpload(path, [{ ...entry, path: '' }], options, session)
  })
}

function checkedDirectory(entry: LocalEntry, path: string, options: AddOptions): LocalEntry {
  if (entry.kind !== 'directory' || options.recursive === true) return entry
  throw new AppError('REQUEST_INVALID', `${path} is a directory`, {
    hint: `add it with all that is in it: stowage add -r ${path}`,
  })
}

function streamUpload(path: string, { body }: LocalInput, options: AddOptions, { client }: Session): Upload {
  const wrap = options.as === undefined ? {} : { wrap: true, filename: options.as }
  return {
    name: options.as ?? path,
    totalBytes: undefined,
    send: (put) => client.putFile(body, { ...put, ...wrap }),
  }
}

function fileUpload(name: string, entry: LocalEntry, options: AddOptions, { client }: Session): Upload {
  const mode = options.mode === true ? `0${(entry.mode & 0o7777).toString(8).padStart(3, '0')}` : undefined
  const mtime = options.mtime === true ? formatSeconds(entry.mtime) : undefined
  return {
    name,
    totalBytes: entry.size,
    send: (put) => client.putFile(readFile(entry), { ...put, bytes: entry.size, mode, mtime }),
  }
}

/** One tar of all the entries; an entry with the path '' is the root itself, otherwise they lie in it. */
function treeUpload(name: string, roots: readonly LocalEntry[], options: AddOptions, { client }: Session): Upload {
  const hidden = options.hidden === true
  const entries = roots.flatMap((root) => (root.kind === 'directory' ? [...scanTree(root, { hidden })] : [root]))
  checkDistinct(roots)
  const tar = { mtime: options.mtime === true }
  const bytes = tarBytes(entries, tar)
  return {
    name,
    totalBytes: bytes,
    send: (put) =>
      client.putTar(tarStream(entries, tar), {
        ...put,
        bytes,
        // What is hidden has been left out above; a dotted path that was named is meant.
        hidden: true,
        wrap: true,
        mode: options.mode === true ? 'true' : undefined,
        mtime: options.mtime === true ? 'true' : undefined,
      }),
  }
}

function checkDistinct(roots: readonly LocalEntry[]): void {
  const seen = new Set<string>()
  for (const { path } of roots) {
    if (seen.has(path)) {
      throw new AppError('REQUEST_INVALID', `two paths have the name ${path}, so they cannot lie in one directory`)
    }
    seen.add(path)
  }
}
