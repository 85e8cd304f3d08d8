import type { Command } from 'commander'
import { expect, test } from 'vitest'
import type { Io } from '../../src/cli/io.ts'
import { createProgram } from '../../src/cli/main.ts'
import { fakeNode, run, testFolder } from '../support/cli.ts'

const cid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'

/** Every command that takes text of a user, with `@` where it takes it. */
const commands: readonly (readonly string[])[] = [
  ['add', '--name', '@', '-'],
  ['add', '@'],
  ['get', '@', '-o', 'out'],
  ['cat', '@'],
  ['ls', '@'],
  ['stat', '@'],
  ['car', 'import', '@'],
  ['car', 'export', '@'],
  ['rm', '@'],
  ['rm', '--force', '@'],
  ['name', 'set', '@', cid],
  ['name', 'set', 'a', '@'],
  ['name', 'set', '@', '--file', '-'],
  ['name', 'get', '@'],
  ['name', 'rm', '@'],
  ['name', 'mv', '@', 'b'],
  ['name', 'mv', 'a', '@'],
  ['name', 'history', '@'],
  ['name', 'undo', '@'],
  ['names', '@'],
  ['names', '--cid', '@'],
  ['ipns', 'publish', '@', '--key', 'k'],
  ['ipns', 'publish', 'a', '--key', '@'],
  ['ipns', 'import', '@'],
  ['ipns', 'link', '@', `/ipfs/${cid}`],
  ['ipns', 'link', 'example.org', '@'],
  ['ipns', 'get', '@'],
  ['ipns', 'rm', '@'],
  ['key', 'gen', '@'],
  ['key', 'rm', '@'],
  ['key', 'export', '@', '-o', 'out'],
  ['key', 'import', '@', 'absent'],
  ['projection', 'add', '@', '--site', 'a', 'docs/'],
  ['projection', 'add', 'blog', '--site', '@', 'docs/'],
  ['projection', 'add', 'blog', '--site', 'a', '@'],
  ['projection', 'rm', '@'],
  ['events', '--cid', '@'],
  ['events', '--prefix', '@'],
  ['events', '--correlation', '@'],
  ['policy', 'set', '@'],
  ['policy', 'check', '@'],
  ['why', '@'],
  ['site', 'remove', '@'],
  ['store', 'add', '@'],
  ['store', 'drain', '@'],
  ['store', 'drain', 'b', '--site', '@'],
  ['store', 'rm', '@'],
  ['store', 'reshard', '@', '--shards', '4'],
  ['store', 'reshard', 'b', '--shards', '4', '--to', '@'],
  ['status', '@'],
  ['missing', '--peer', '@'],
  ['scrub', '--store', '@'],
]

const hostile = [
  '..',
  '.',
  '../objects/x',
  `../objects/${cid}`,
  'a/x/../keep',
  'a/./b',
  'a/..',
  'name:../a',
  '/names/../a',
  '/ipns/../names/a',
  '/ipns/..',
  `/ipfs/${cid}/../a`,
  `${cid}/..`,
  `ipfs://${cid}/%2e%2e/a`,
  '../../../readyz',
  '%2e%2e',
  '%2e%2e/a',
  'a/%2E./b',
  '..\\a',
  'a?b=c',
  'a#b',
  'a/b?force=true',
]

function leaves(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leaves)
}

const pathOf = (command: Command): string =>
  command.parent === null || command.parent.parent === null
    ? command.name()
    : `${pathOf(command.parent)} ${command.name()}`

test('the table above has every command that takes an argument', () => {
  const program = createProgram({ version: '1' } as Io, { exitCode: 0 })
  const taking = leaves(program).filter(({ registeredArguments }) => registeredArguments.length > 0)
  expect(taking.length).toBeGreaterThan(25)
  const missing = taking
    .map(pathOf)
    .filter((path) => !commands.some((argv) => `${argv.join(' ')} `.startsWith(`${path} `)))
  expect(missing).toEqual([])
})

/** The requests, decoded as a router decodes them: segments, each once. */
async function requestsOf(argv: readonly string[], url: string, seen: string[], folder: string): Promise<string[]> {
  seen.length = 0
  const env = { STOWAGE_API_URL: url, STOWAGE_GATEWAY_URL: url }
  const { exitCode, stderr } = await run(folder, argv, { env, stdin: 'x' })
  expect(stderr).not.toMatch(/\n\s+at /)
  expect(exitCode).not.toBe(0)
  return [...seen]
}

/** The segments of what was asked for, with the benign or hostile text in its place. */
const shape = (requests: readonly string[], text: string): string[] => {
  const plain = text
    .replace(/^(name:|\/names\/|\/ipfs\/|ipfs:\/\/)/, '')
    .split('/')
    .map(encodeURIComponent)
  const whole = [plain.join('/'), encodeURIComponent(text)]
  return requests.slice(0, 1).map((request) => {
    const [line = ''] = request.split('?')
    const found = whole.find((part) => line.includes(`/${part}`))
    return found === undefined ? line : line.replace(`/${found}`, '/@')
  })
}

for (const argv of commands) {
  test(`no text leads \`${argv.join(' ')}\` to another place`, async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    const seen: string[] = []
    const url = await fakeNode(onTestFinished, (request, response) => {
      seen.push(`${request.method} ${request.url}`)
      request.resume()
      response.statusCode = 404
      response.setHeader('content-type', 'application/json')
      response.end('{"code":"name_not_found","message":"there is none"}')
    })
    const filled = (text: string) => argv.map((part) => (part === '@' ? text : part))
    const places = new Set<string>()
    for (const benign of ['benign', 'docs/a', cid, `/ipfs/${cid}/b`, '/ipns/example.org']) {
      for (const one of shape(await requestsOf(filled(benign), url, seen, folder), benign)) places.add(one)
    }
    for (const text of hostile) {
      for (const one of shape(await requestsOf(filled(text), url, seen, folder), text)) {
        expect([text, [...places]]).toEqual([text, expect.arrayContaining([one])])
      }
    }
  })
}
