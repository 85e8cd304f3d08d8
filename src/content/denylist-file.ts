import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '../errors.ts'
import { MiB } from '../lib/units.ts'
import { parseDenyLine } from './deny-rule.ts'
import { type Denials, Denylist } from './denylist.ts'

/** By the format's specification. */
const headerBytesMax = MiB
const lineBytesMax = 2 * MiB
/** Of the lines that cannot be read, so many are told of one by one. */
const problemsMax = 20
const lookMs = 1000

export interface DenylistReport {
  readonly rules: number
  readonly files: number
  /** `<file>:<line>: what is wrong`; those lines deny nothing. */
  readonly problems: readonly string[]
  /** All of them. */
  readonly problemCount: number
}

export interface DenylistWatch {
  /** Looks for a change at once instead of within a second. */
  look(): Promise<void>
  close(): void
}

export interface DenylistOptions {
  readonly denials: Denials
  /** What was read, now and after each change. */
  readonly loaded: (report: DenylistReport) => void
  /** A change that cannot be read: the lists before it stay in force. */
  readonly failed: (error: unknown) => void
}

/**
 * Puts the lists at `path` in force and follows their changes: one file, or a folder whose `*.deny` files count in the order
 * of their names. @throws AppError SETTING_INVALID when they cannot be read at the start
 */
export async function watchDenylist(path: string, options: DenylistOptions): Promise<DenylistWatch> {
  const { denials, loaded, failed } = options
  const load = async (files: readonly string[]): Promise<void> => {
    const { list, report } = await readDenylists(files)
    denials.use(list)
    loaded(report)
  }
  let known: string
  try {
    const before = await signatureOf(path)
    await load(before.files)
    known = before.signature
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown reason'
    throw new AppError('SETTING_INVALID', `the denylist ${path} cannot be used: ${why}`, { cause })
  }
  const reload = async (): Promise<void> => {
    try {
      // Before the reading: what changes meanwhile is seen the next time.
      const { files, signature } = await signatureOf(path)
      if (signature === known) return
      await load(files)
      known = signature
    } catch (error) {
      failed(error)
    }
  }
  let looking = Promise.resolve()
  const look = (): Promise<void> => {
    looking = looking.then(reload)
    return looking
  }
  const timer = setInterval(() => void look(), lookMs)
  timer.unref()
  return { look, close: () => clearInterval(timer) }
}

/** What changes when one of the files does. */
async function signatureOf(path: string): Promise<{ readonly files: readonly string[]; readonly signature: string }> {
  const own = await stat(path)
  const names = own.isDirectory() ? (await readdir(path)).filter((name) => name.endsWith('.deny')).sort() : undefined
  const files = names?.map((name) => join(path, name)) ?? [path]
  const parts = await Promise.all(
    files.map(async (file) => {
      const { ino, size, mtimeMs } = await stat(file)
      return `${file}\0${ino}\0${size}\0${mtimeMs}`
    }),
  )
  return { files, signature: parts.join('\n') }
}

/** @throws Error when a file cannot be read or its header is not one that we understand */
export async function readDenylists(
  files: readonly string[],
): Promise<{ readonly list: Denylist; readonly report: DenylistReport }> {
  const list = new Denylist()
  const problems: string[] = []
  let problemCount = 0
  for (const file of files) {
    await readOne(file, list, (line, why) => {
      problemCount++
      if (problems.length < problemsMax) problems.push(`${file}:${line}: ${why}`)
    })
  }
  return { list, report: { rules: list.size, files: files.length, problems, problemCount } }
}

interface Line {
  readonly number: number
  /** Undefined when it is too long. */
  readonly text: string | undefined
}

async function readOne(file: string, list: Denylist, problem: (line: number, why: string) => void): Promise<void> {
  let legal = false
  const add = ({ number, text }: Line): void => {
    if (text?.trim() === '' || text?.startsWith('#') === true) return
    try {
      if (text === undefined) throw new Error(`it has more than ${lineBytesMax} bytes`)
      list.add(parseDenyLine(text), legal)
    } catch (error) {
      problem(number, error instanceof Error ? error.message : 'it is no rule')
    }
  }
  // Until the line that ends it is found, what looks like a header may be rules.
  let header: Line[] | undefined = []
  let headerBytes = 0
  for await (const line of linesOf(file)) {
    if (header === undefined) {
      add(line)
      continue
    }
    if (line.text?.trimEnd() === '---') {
      legal = headerHints(header).get('gateway_status') === '451'
      header = undefined
      continue
    }
    header.push(line)
    headerBytes += (line.text?.length ?? lineBytesMax) + 1
    if (headerBytes <= headerBytesMax) continue
    for (const early of header) add(early)
    header = undefined
  }
  for (const early of header ?? []) add(early)
}

/**
 * The part of YAML that headers of denylists are written in: `key: value`, and `hints` with such lines below it.
 * @throws Error for another version of the format
 */
function headerHints(lines: readonly Line[]): ReadonlyMap<string, string> {
  const hints = new Map<string, string>()
  let section = ''
  for (const { text = '' } of lines) {
    const match = /^(\s*)([\w.-]+)\s*:\s*(.*?)\s*$/.exec(text)
    if (match === null) continue
    const [, indent = '', key = '', value = ''] = match
    const plain = value.replace(/\s+#.*$/, '').replace(/^(["'])(.*)\1$/, '$2')
    if (indent !== '') {
      if (section === 'hints') hints.set(key, plain)
      continue
    }
    section = key
    if (key === 'version' && plain !== '1') throw new Error(`its header is of version ${plain}; 1 is understood`)
  }
  return hints
}

const newline = 0x0a

/** Memory: one line and one chunk. */
async function* linesOf(file: string): AsyncGenerator<Line> {
  let number = 1
  let parts: Buffer[] = []
  let bytes = 0
  const line = (): Line => {
    const text = bytes >= lineBytesMax ? undefined : Buffer.concat(parts).toString('utf8')
    parts = []
    bytes = 0
    return { number: number++, text }
  }
  const gather = (part: Buffer): void => {
    bytes += part.byteLength
    if (bytes < lineBytesMax) parts.push(part)
    else parts = []
  }
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    let start = 0
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      gather(chunk.subarray(start, end))
      yield line()
      start = end + 1
    }
    if (start < chunk.byteLength) gather(chunk.subarray(start))
  }
  if (bytes > 0) yield line()
}
