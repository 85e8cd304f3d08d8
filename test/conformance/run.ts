import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { resolveServerBinary } from '../../src/nats/server-binary.ts'
import { type NodeProcess, startNodeProcess } from '../support/node-process.ts'
import { buildBoxo, startBoxo } from './boxo-gateway.ts'
import { readsCount, readThroughBoxo } from './boxo-reads.ts'
import { loadFixtures } from './load.ts'
import { extractFixtures, findSuite, type Result, runSuite } from './suite.ts'

// npm run conformance [-- --run <regular expression of Go> --verbose --boxo]
// --boxo: instead of reading from the node itself, let boxo's CAR backend read from it, as Rainbow does.
const { values } = parseArgs({
  options: {
    run: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    boxo: { type: 'boolean', default: false },
  },
})

/**
 * What boxo's own runs of the suite over a remote CAR backend leave out: names, which it would ask the network for, and a
 * block store, which it has none of.
 */
const boxoLeavesOut = {
  specs: '-trustless-ipns-gateway,-path-ipns-gateway,-subdomain-ipns-gateway,-dnslink-gateway',
  skip: 'TestGatewayCache/.*only-if-cached_succeeds_when_in_local_datastore',
}

/** The whole suite v0.13.2, as Kubo 0.43 passes it. */
const whole = { functions: 41, cases: 271, nodes: 1258 }

const levels = [
  ['functions', (name: string) => !name.includes('/')],
  ['cases', (name: string) => name.split('/').length === 2],
  ['nodes', () => true],
] as const

const folder = await mkdtemp(join(tmpdir(), 'stowage-conformance-'))
try {
  process.exitCode = await conform()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  await rm(folder, { recursive: true, force: true, maxRetries: 10 })
}

async function conform(): Promise<number> {
  const home = await findSuite(process.env)
  const fixtures = await extractFixtures(home, join(folder, 'fixtures'))
  const { path: natsServer } = await resolveServerBinary({ env: process.env })
  const env = {
    STOWAGE_SUBDOMAIN_HOSTS: 'localhost,example.com',
    // The suite tests what a proxy in front of the gateway says.
    STOWAGE_TRUSTED_PROXIES: '127.0.0.1',
    STOWAGE_LOG: 'warn',
  }
  const node = await startNodeProcess({ dataDir: join(folder, 'data'), natsServer, env })
  try {
    const { cars, records, refused, dnslinks } = await loadFixtures(node, fixtures)
    console.log(`loaded ${cars} CARs, ${records} IPNS records, ${dnslinks} DNSLinks; refused:`)
    for (const line of refused) console.log(`  ${line}`)
    if (values.boxo) return await conformThroughBoxo(home, node)
    const { results, said, exitCode } = await runSuite(home, { ...urlsOf(node.gatewayUrl), only: values.run })
    printFailures(results, said)
    if (values.verbose) console.log(node.output())
    const complete = printCounts(results)
    return exitCode === 0 && (complete || values.run !== undefined) ? 0 : 1
  } finally {
    await node.end('SIGTERM')
  }
}

async function conformThroughBoxo(home: string, node: NodeProcess): Promise<number> {
  const built = await buildBoxo(join(folder, 'boxo'))
  if ('missing' in built) {
    console.log(`skipped: ${built.missing}`)
    return 0
  }
  const boxo = await startBoxo(built.program, node.gatewayUrl)
  try {
    const wrong = await readThroughBoxo(node, boxo)
    for (const line of wrong) console.log(`FAIL ${line}`)
    console.log(`reads through boxo's CAR backend: ${readsCount - wrong.length} of ${readsCount} as they should be`)
    const target = { ...urlsOf(boxo.url), ...boxoLeavesOut, only: values.run }
    const { results, said, exitCode } = await runSuite(home, target)
    printFailures(results, said)
    printCounts(results)
    if (values.verbose) console.log(node.output())
    return exitCode === 0 && wrong.length === 0 ? 0 : 1
  } finally {
    await boxo.close()
  }
}

function urlsOf(gatewayUrl: string) {
  return { gatewayUrl, subdomainUrl: `http://example.com:${new URL(gatewayUrl).port}` }
}

function printFailures(results: ReadonlyMap<string, Result>, said: ReadonlyMap<string, readonly string[]>): void {
  const failed = [...results].filter(([, result]) => result === 'fail').map(([name]) => name)
  for (const name of failed) {
    // A parent fails with its children: they say why.
    if (failed.some((other) => other.startsWith(`${name}/`))) continue
    console.log(`FAIL ${name}`)
    for (const line of said.get(name) ?? []) if (!/^\s*(=== |--- )/.test(line)) console.log(`     ${line}`)
  }
}

/** @returns whether everything passed that there is, none skipped */
function printCounts(results: ReadonlyMap<string, Result>): boolean {
  let complete = true
  for (const [level, belongs] of levels) {
    const of = [...results].filter(([name]) => belongs(name)).map(([, result]) => result)
    const count = (result: Result) => of.filter((each) => each === result).length
    console.log(
      `${level}: ${count('pass')} of ${whole[level]} passed, ${count('fail')} failed, ${count('skip')} skipped`,
    )
    complete &&= count('pass') === whole[level]
  }
  return complete
}
