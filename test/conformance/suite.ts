import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** What became of one test of the suite: a function, one of its cases, or a check of a case. */
export type Result = 'pass' | 'fail' | 'skip'

export interface SuiteRun {
  /** By the full name of the test (`TestX/case/check`). */
  readonly results: ReadonlyMap<string, Result>
  /** What the tests that failed printed, by their name. */
  readonly said: ReadonlyMap<string, readonly string[]>
  readonly exitCode: number
}

export interface SuiteTarget {
  readonly gatewayUrl: string
  readonly subdomainUrl: string
  /** As `go test -run`; undefined = everything. */
  readonly only: string | undefined
  /** As `go test -skip`; left out = nothing. */
  readonly skip?: string
  /** As the suite's `--specs`: `-name` takes one out; left out = all. */
  readonly specs?: string
}

/** @throws Error saying what is missing */
export async function findSuite(env: NodeJS.ProcessEnv): Promise<string> {
  const home = env.GATEWAY_CONFORMANCE_HOME
  if (home === undefined || home === '') {
    throw new Error(
      'the suite is not here: set GATEWAY_CONFORMANCE_HOME to a copy of ipfs/gateway-conformance v0.13.2 (and install Go >= 1.25, which it is run by)',
    )
  }
  await access(join(home, 'tests', 'metadata_test.go')).catch((cause: unknown) => {
    throw new Error(`GATEWAY_CONFORMANCE_HOME=${home} holds no tests/metadata_test.go`, { cause })
  })
  return home
}

export interface Fixtures {
  readonly cars: readonly string[]
  /** Files named `<key>[_…].ipns-record`. */
  readonly records: readonly string[]
  /** Content path by domain name. */
  readonly dnslinks: Readonly<Record<string, string>>
}

/** Has the suite write its fixtures to `folder`. */
export async function extractFixtures(home: string, folder: string): Promise<Fixtures> {
  const args = ['run', './cmd/gateway-conformance', 'extract-fixtures', '--directory', folder]
  const { exitCode, lines } = await runProgram('go', args, { cwd: home, env: process.env })
  if (exitCode !== 0) throw new Error(`the fixtures could not be extracted:\n${lines.join('\n')}`)
  const files = await readdir(folder)
  const paths = (ending: string) => files.filter((file) => file.endsWith(ending)).map((file) => join(folder, file))
  const links = JSON.parse(await readFile(join(folder, 'dnslinks.json'), 'utf8')) as { domains: Record<string, string> }
  return { cars: paths('.car'), records: paths('.ipns-record'), dnslinks: links.domains }
}

/** Runs the suite itself, by `go test`; its own wrapper does the same. `-count=1`: nothing out of Go's cache. */
export async function runSuite(
  home: string,
  { gatewayUrl, subdomainUrl, only, skip, specs }: SuiteTarget,
): Promise<SuiteRun> {
  const args = [
    'test',
    './tests',
    '-json',
    '-count=1',
    '-timeout',
    '10m',
    ...(only === undefined ? [] : ['-run', only]),
    ...(skip === undefined ? [] : ['-skip', skip]),
    ...(specs === undefined ? [] : [`-specs=${specs}`]),
  ]
  const env = {
    ...process.env,
    GATEWAY_CONFORMANCE_HOME: home,
    GATEWAY_URL: gatewayUrl,
    SUBDOMAIN_GATEWAY_URL: subdomainUrl,
  }
  const { exitCode, lines } = await runProgram('go', args, { cwd: home, env })
  const results = new Map<string, Result>()
  const said = new Map<string, string[]>()
  for (const line of lines) {
    const event = parse(line)
    if (event?.Test === undefined) continue
    if (event.Action === 'pass' || event.Action === 'fail' || event.Action === 'skip') {
      results.set(event.Test, event.Action)
    } else if (event.Action === 'output' && event.Output !== undefined) {
      said.set(event.Test, [...(said.get(event.Test) ?? []), event.Output.trimEnd()])
    }
  }
  if (results.size === 0) throw new Error(`the suite did not run:\n${lines.slice(-20).join('\n')}`)
  return { results, said, exitCode }
}

interface GoEvent {
  readonly Action: string
  readonly Test?: string
  readonly Output?: string
}

/** A line of `go test -json`; what else Go prints is no event. */
function parse(line: string): GoEvent | undefined {
  return line.startsWith('{') ? (JSON.parse(line) as GoEvent) : undefined
}

/** Runs it to its end. @throws the system's error when it cannot be started, ENOENT where there is none */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
): Promise<{ readonly exitCode: number; readonly lines: readonly string[] }> {
  const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  const lines: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => lines.push(line))
  }
  const [exitCode] = (await once(child, 'close')) as [number | null]
  return { exitCode: exitCode ?? 1, lines }
}
