import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { expect, test } from 'vitest'

const src = resolve(import.meta.dirname, '../src')

/** Who may import whom (ARCHITECTURE.md). A new arrow is a visible change of this table. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  // The process, and the composition root: the only ones that see everything.
  'main.ts': ['cli', 'node.ts', 'observability', 'client', 'nats'],
  'node.ts': [
    'api',
    'auth',
    'blocks',
    'content',
    'comms',
    'events',
    'gateway',
    'http',
    'names',
    'nats',
    'observability',
    'placement',
  ],
  cli: ['client'],
  client: [],
  gateway: ['content', 'auth', 'http'],
  api: ['content', 'auth', 'placement', 'http'],
  // What every HTTP listener bounds; no domain word in it.
  http: [],
  content: ['dag', 'blocks', 'names', 'events'],
  names: ['events', 'nats'],
  events: ['nats'],
  comms: ['content', 'auth', 'nats', 'placement'],
  // In the background: reads and writes blocks, and leaves events.
  placement: ['content', 'dag', 'blocks', 'names', 'events', 'nats'],
  dag: ['blocks'],
  blocks: ['nats'],
  nats: [],
  auth: [],
  observability: [],
  lib: [],
  'config.ts': ['lib'],
  'errors.ts': [],
}

/** Everyone may import these; of config and observability only the types, but where a table above says otherwise. */
const forAll = ['lib', 'errors.ts']
const typesForAll = ['config.ts', 'observability']
/** Parses settings, so it needs the values: the process, and the CLI that shows and reads them. */
const configReaders = ['main.ts', 'cli', 'client']

interface Import {
  readonly from: string
  readonly to: string
  readonly typeOnly: boolean
}

function sourceFiles(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    if (statSync(path).isDirectory()) return sourceFiles(path)
    return path.endsWith('.ts') ? [path] : []
  })
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, 'utf8')
  const statements = text.matchAll(
    /^(?:import|export)\s+(type\s)?[^'"]*?from\s+'([^']+)'|^import\s+'([^']+)'|import\('([^']+)'\)/gm,
  )
  return Array.from(statements, ([, typeOnly, from, bare, dynamic]) => ({
    from: relative(src, file),
    to: from ?? bare ?? dynamic ?? '',
    typeOnly: typeOnly !== undefined,
  }))
}

/** The layer of a path below src: its folder, or itself when it lies at the top. */
const layerOf = (path: string): string => path.split('/')[0] ?? path

const all = sourceFiles(src).flatMap(importsOf)

function forbidden({ from, to, typeOnly }: Import): boolean {
  if (!to.startsWith('.')) return false
  const source = layerOf(from)
  const target = layerOf(relative(src, resolve(src, dirname(from), to)))
  if (source === target || forAll.includes(target)) return false
  if (typesForAll.includes(target) && typeOnly) return false
  if (target === 'config.ts' && configReaders.includes(source)) return false
  return !(arrows[source] ?? []).includes(target)
}

test('imports follow the arrows of ARCHITECTURE.md', () => {
  expect(all.length).toBeGreaterThan(100)
  expect(all.filter(forbidden).map(({ from, to }) => `${from} → ${to}`)).toEqual([])
})

test('the check itself sees a forbidden arrow', () => {
  expect(forbidden({ from: 'nats/a.ts', to: '../blocks/b.ts', typeOnly: false })).toBe(true)
  expect(forbidden({ from: 'gateway/a.ts', to: '../api/b.ts', typeOnly: true })).toBe(true)
  expect(forbidden({ from: 'dag/a.ts', to: '../config.ts', typeOnly: false })).toBe(true)
  expect(forbidden({ from: 'dag/a.ts', to: '../config.ts', typeOnly: true })).toBe(false)
})

test('only src/nats knows the NATS client', () => {
  const outside = all.filter(({ from, to }) => to.startsWith('@nats-io/') && layerOf(from) !== 'nats')
  expect(outside).toEqual([])
})

test('only the process itself touches process', () => {
  const touching = sourceFiles(src)
    .filter((file) =>
      /(?<![.\w'-])process\.(?:argv|env|exit|exitCode|on|once|cwd|std\w+)/.test(readFileSync(file, 'utf8')),
    )
    .map((file) => relative(src, file))
  expect(touching).toEqual(['main.ts'])
})

test('only onAbort listens to a signal: a listener of its own misses an abort that is past, and many are a leak', () => {
  const listening = sourceFiles(src)
    .filter((file) => /\.addEventListener\(\s*'abort'|\.onabort\b/.test(readFileSync(file, 'utf8')))
    .map((file) => relative(src, file))
  expect(listening).toEqual(['lib/on-abort.ts'])
})

test('no file below src is longer than 300 lines', () => {
  const long = sourceFiles(src)
    .map((file) => [relative(src, file), readFileSync(file, 'utf8').split('\n').length] as const)
    .filter(([file, lines]) => lines > 300 && file !== 'config.ts')
  expect(long).toEqual([])
})

/** What else imports functions that can write a file, and why what it writes needs no `writeDurably`. */
const otherWriters: Readonly<Record<string, readonly string[]>> = {
  // Files of the user's, under a temporary name, synced, then renamed: one keeps the bits of what it replaces, and pipes stay.
  'client/write-output.ts': ['link', 'open', 'rename'],
  // Reads only.
  'client/local-file.ts': ['openSync', 'open'],
  // A tree that was written and synced elsewhere goes into one that is there, file by file; its folders are synced then.
  'client/merge-tree.ts': ['rename'],
  // Pipes that are there: nothing on a disk.
  'client/pipes.ts': ['openSync'],
  'nats/server-log.ts': ['open'],
  // What the server says while it starts: lost with the machine, and nobody misses it.
  'nats/server-process.ts': ['open'],
  // Into a folder of its own; `install` syncs what was verified and gives it its name.
  'nats/server-sources.ts': ['writeFile'],
}

test('files are written by lib/durable-file.ts, so that a power cut leaves none empty', () => {
  const writing =
    /^(?:writeFile|appendFile|copyFile|rename|link|cp|open|truncate)(?:Sync)?$|^createWriteStream$|^(?:promises|default)$/
  const found = sourceFiles(src).flatMap((file) => {
    const imports = readFileSync(file, 'utf8').matchAll(/^import (?!type)([^'"]+) from 'node:fs(?:\/promises)?'/gm)
    const names = Array.from(imports, ([, clause = '']) => clause.split(/[{},]/)).flat()
    const able = names.map((name) => name.trim().split(' as ')[0] ?? '').filter((name) => writing.test(name))
    return able.length === 0 ? [] : [[relative(src, file), able] as const]
  })
  const { 'lib/durable-file.ts': ours, ...others } = Object.fromEntries(found)
  expect(ours?.length).toBeGreaterThan(3)
  expect(others).toEqual(otherWriters)
})

/** What puts a URL together from parts: a base with something behind it, an encoded part, a query of its own. */
const urlMaking = /Url\}\/|\/api\/v1|encodeURIComponent|new URLSearchParams|as NodeUrl|\.origin\}/

test('what talks to a node makes its URLs in one place', () => {
  const made = ['client', 'cli'].flatMap((folder) =>
    sourceFiles(join(src, folder))
      .filter((file) => urlMaking.test(withoutComments(readFileSync(file, 'utf8'))))
      .map((file) => relative(src, file)),
  )
  expect(made).toEqual(['client/node-url.ts'])
})

test('the check itself sees URLs that are put together elsewhere', () => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: code that the check looks at
  const templates = ['`${apiUrl}/names/${name}`', '`${access.apiUrl}/api/v1/${path}`', 'url as NodeUrl']
  for (const code of templates) expect(urlMaking.test(code)).toBe(true)
  expect(urlMaking.test(withoutComments('/** Below `/api/v1/`. */'))).toBe(false)
})

const withoutComments = (code: string): string => code.replace(/\/\*[\s\S]*?\*\//g, '')
