import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { run, Sink, testFolder } from '../support/cli.ts'
import { openNodeCli, startFullNode } from '../support/full-node.ts'
import { startTestNats } from '../support/nats.ts'

const waiting = { timeout: 20_000, interval: 50 }

interface Entry {
  readonly name: string
  readonly cid: string
  readonly revision: number
  readonly size: number
  readonly verb: string
  readonly event: { readonly subject: string }
  readonly sequence: number
}

const jsonLines = (stdout: string): Entry[] =>
  stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Entry)

const helloCid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'

describe('name', () => {
  test('content is stored and named at once, from a file and from a pipe, and read by its name', async ({
    onTestFinished,
  }) => {
    const { folder, run } = await openNodeCli(onTestFinished)
    await writeFile(join(folder, 'a.txt'), 'hello world')
    const set = await run(['name', 'set', 'docs/a.txt', '--file', 'a.txt'])
    expect(set).toMatchObject({ exitCode: 0, stderr: '' })
    expect(set.stdout).toMatch(new RegExp(`^set docs/a\\.txt -> ${helloCid} \\(revision \\d+\\)\n$`))
    expect((await run(['name', 'get', 'docs/a.txt'])).stdout).toBe(`${helloCid}\n`)
    expect((await run(['cat', 'docs/a.txt'])).stdout).toBe('hello world')
    expect((await run(['name', 'set', 'now', '--file', '-'], { stdin: 'piped' })).exitCode).toBe(0)
    expect((await run(['cat', 'name:now'])).stdout).toBe('piped')
    expect((await run(['name', 'set', 'docs/b.txt', 'docs/a.txt'])).stdout).toContain(`docs/b.txt -> ${helloCid}`)
    const entry = jsonLines((await run(['name', 'get', 'docs/b.txt', '--json'])).stdout)[0]
    expect(entry).toMatchObject({ name: 'docs/b.txt', cid: helloCid })
  })

  test('--if-revision and --if-absent: the loser ends with 7 and changes nothing', async ({ onTestFinished }) => {
    const { run } = await openNodeCli(onTestFinished)
    const first = jsonLines((await run(['name', 'set', 'n', '--file', '-', '--json'], { stdin: '1' })).stdout)[0]
    const again = await run(['name', 'set', 'n', '--file', '-', '--if-absent'], { stdin: '2' })
    expect(again).toMatchObject({ exitCode: 7, stdout: '', stderr: expect.stringMatching(/^stowage: .+\n$/) })
    const revision = String(first?.revision)
    expect((await run(['name', 'set', 'n', '--file', '-', '--if-revision', revision], { stdin: '3' })).exitCode).toBe(0)
    const late = await run(['add', '--name', 'n', '--if-revision', revision, '-'], { stdin: '4' })
    expect(late.exitCode).toBe(7)
    expect((await run(['name', 'rm', 'n', '--if-revision', revision])).exitCode).toBe(7)
    expect((await run(['cat', 'n'])).stdout).toBe('3')
    expect((await run(['name', 'set', 'n', helloCid, '--if-revision', 'x'])).exitCode).toBe(2)
    expect((await run(['name', 'set', 'n'])).exitCode).toBe(2)
  })

  test('history, a revision and a time of it, undo, removal and return', async ({ onTestFinished }) => {
    const { run } = await openNodeCli(onTestFinished)
    const set = async (text: string) =>
      jsonLines((await run(['name', 'set', 'n', '--file', '-', '--json'], { stdin: text })).stdout)[0]
    const one = await set('one')
    await set('two')
    expect((await run(['cat', `n@${one?.revision}`])).stdout).toBe('one')
    expect((await run(['name', 'undo', 'n'])).stdout).toMatch(/^set n -> \w+ \(revision \d+\)\n$/)
    expect((await run(['cat', 'n'])).stdout).toBe('one')
    expect((await run(['name', 'rm', 'n'])).stdout).toBe('removed n\n')
    expect((await run(['cat', 'n'])).exitCode).toBe(3)
    expect((await run(['name', 'undo', 'n'])).exitCode).toBe(0)
    expect((await run(['cat', 'n'])).stdout).toBe('one')
    const history = await run(['name', 'history', 'n'])
    expect(history.stdout.split('\n').map((line) => line.trim().split(/\s+/).slice(3).join(' '))).toEqual([
      expect.stringMatching(/^3 B baf/),
      expect.stringMatching(/^3 B baf/),
      expect.stringMatching(/^3 B baf/),
      'removed',
      expect.stringMatching(/^3 B baf/),
      '',
    ])
    expect(jsonLines((await run(['name', 'history', 'n', '--json'])).stdout).map(({ verb }) => verb)).toEqual([
      'set',
      'set',
      'set',
      'removed',
      'set',
    ])
  })

  test('mv moves both names at once, and replaces only what it is told to', async ({ onTestFinished }) => {
    const { run } = await openNodeCli(onTestFinished)
    await run(['add', '--name', 'a', '-'], { stdin: 'A' })
    await run(['add', '--name', 'b', '-'], { stdin: 'B' })
    expect(await run(['name', 'mv', 'a', 'b'])).toMatchObject({
      exitCode: 7,
      stderr: expect.stringContaining('replaced with --replace'),
    })
    expect((await run(['cat', 'b'])).stdout).toBe('B')
    expect((await run(['name', 'mv', 'a', 'b', '--replace'])).stdout).toMatch(/^renamed a to b -> baf\w+ \(revision/)
    expect((await run(['cat', 'b'])).stdout).toBe('A')
    expect((await run(['name', 'get', 'a'])).exitCode).toBe(3)
    expect((await run(['name', 'mv', 'gone', 'c'])).exitCode).toBe(3)
  })
})

describe('add --name', () => {
  test('a file and a directory get their names in the commit that adds them', async ({ onTestFinished }) => {
    const { folder, run } = await openNodeCli(onTestFinished)
    await mkdir(join(folder, 'photos', '2024'), { recursive: true })
    await writeFile(join(folder, 'photos', '2024', 'a.jpg'), 'pixels')
    const added = await run(['add', '-r', '--name', 'holidays', 'photos'])
    expect(added.stdout).toMatch(/^added (\w+) photos\nset holidays -> \1 \(revision \d+\)\n$/)
    expect((await run(['cat', 'holidays/2024/a.jpg'])).stdout).toBe('pixels')
    expect((await run(['ls', 'holidays'])).stdout).toMatch(/2024\/\n$/)
    expect((await run(['stat', 'holidays/2024/a.jpg'])).stdout).toMatch(/^size +6 bytes$/m)
    expect((await run(['get', 'holidays', '-q'])).exitCode).toBe(2)
    expect((await run(['get', 'holidays'])).stdout).toMatch(/^fetched holidays \(1 files/)
    const car = await run(['car', 'export', 'holidays', '-o', 'h.car'])
    expect(car.stdout).toMatch(/^exported h\.car/)
    expect((await run(['cat', 'holidays/2025'])).exitCode).toBe(3)
    expect((await run(['add', '--name', 'x', 'photos/2024/a.jpg', 'h.car'])).exitCode).toBe(2)
  })
})

describe('names', () => {
  test('all names come in their order over many pages; a prefix, a limit and a CID choose', async ({
    onTestFinished,
  }) => {
    const { run } = await openNodeCli(onTestFinished)
    await run(['add', '-q', '-'], { stdin: 'hello world' })
    for (const name of ['b/2', 'b/1', 'a', 'ü']) await run(['name', 'set', name, helloCid])
    await run(['add', '--name', 'b/3', '-'], { stdin: 'other' })
    const names = async (...argv: string[]) =>
      jsonLines((await run(['names', ...argv, '--json'])).stdout).map(({ name }) => name)
    expect(await names()).toEqual(['a', 'b/1', 'b/2', 'b/3', 'ü'])
    expect(await names('b/')).toEqual(['b/1', 'b/2', 'b/3'])
    expect(await names('--limit', '2')).toEqual(['a', 'b/1'])
    expect(await names('--cid', helloCid)).toEqual(['a', 'b/1', 'b/2', 'ü'])
    expect(await names('--cid', 'b/3')).toEqual(['b/3'])
    expect((await run(['names', 'b/3'])).stdout).toMatch(/^ +\d+ +5 B {2}baf\w+ {2}b\/3\n$/)
    const gone = new Writable({
      write: (_chunk, _encoding, done) => done(Object.assign(new Error('gone'), { code: 'EPIPE' })),
    })
    expect(await run(['names'], { io: { stdout: gone } })).toMatchObject({ exitCode: 0, stderr: '' })
  })
})

describe('rm and index', () => {
  test('named content is kept unless --force is given, which takes its names', async ({ onTestFinished }) => {
    const { run } = await openNodeCli(onTestFinished)
    await run(['add', '-q', '--name', 'n', '-'], { stdin: 'hello world' })
    const kept = await run(['rm', helloCid])
    expect(kept.exitCode).toBe(1)
    expect(kept.stderr).toMatch(/^stowage: .*--force|^stowage: .*force/)
    expect((await run(['rm', '--force', helloCid])).stdout).toBe(`removed ${helloCid}, and the name n\n`)
    expect((await run(['name', 'get', 'n'])).exitCode).toBe(3)
    expect((await run(['rm', 'n'])).stderr).toContain('stowage name rm')
  })

  test('verify finds the index equal to the log, and so it is after a rebuild', async ({ onTestFinished }) => {
    const { run } = await openNodeCli(onTestFinished)
    await run(['add', '-q', '--name', 'n', '-'], { stdin: 'hello world' })
    expect(await run(['index', 'verify'])).toMatchObject({ exitCode: 0, stderr: '' })
    expect(await run(['index', 'rebuild'])).toMatchObject({ exitCode: 0, stderr: '' })
    expect((await run(['name', 'get', 'n'])).stdout).toBe(`${helloCid}\n`)
    expect((await run(['index', 'verify', '--repair'])).exitCode).toBe(0)
  })
})

describe('events', () => {
  test('what was done is shown in its order, and filters choose', async ({ onTestFinished }) => {
    const { run } = await openNodeCli(onTestFinished)
    await run(['add', '-q', '--name', 'docs/n', '-'], { stdin: 'hello world' })
    await run(['name', 'rm', 'docs/n'])
    // Beside them a node says at its first start which site and store it is.
    const acts = async (...argv: string[]) =>
      (await run(['events', ...argv])).stdout
        .split('\n')
        .map((line) => line.trim().split(/\s+/)[2] ?? '')
        .filter((act) => act !== '' && act !== 'site.set' && act !== 'store.set')
    expect(await acts()).toEqual(['object.added', 'name.set', 'name.removed'])
    expect(await acts('--entity', 'name', '--verb', 'set')).toEqual(['name.set'])
    expect(await acts('--prefix', 'docs/')).toEqual(expect.arrayContaining(['name.set', 'name.removed']))
    expect(await acts('--since', '1h')).toHaveLength(3)
    const [added] = jsonLines((await run(['events', '--entity', 'object', '--json'])).stdout)
    const { sequence } = added as { sequence: number }
    expect(added).toMatchObject({ sequence: expect.any(Number), event: { specversion: '1.0', subject: helloCid } })
    expect(await acts('--since', String(sequence))).toEqual(['name.set', 'name.removed'])
    expect(await acts('--since', String(sequence + 1))).toEqual(['name.removed'])
  })

  test('whoever follows sees what happens from then on, and nothing twice when the node is started again', async ({
    onTestFinished,
  }) => {
    const nats = await startTestNats()
    onTestFinished(() => nats.stop())
    const first = await startFullNode(onTestFinished, { nats })
    const folder = await testFolder(onTestFinished)
    const add = (text: string, env: Readonly<Record<string, string>>) =>
      run(folder, ['add', '-q', '--name', text, '-'], { stdin: text, env })
    await add('before', first.env)
    const stop = new AbortController()
    const stdout = new Sink(false)
    const following = run(folder, ['events', '--follow', '--entity', 'name', '--json'], {
      env: first.env,
      signal: stop.signal,
      io: { stdout },
    })
    const names = () => jsonLines(stdout.bytes.toString()).map(({ event }) => event.subject)
    // It is there when it sees one of a row of changes.
    await expect
      .poll(async () => {
        await add('marker', first.env)
        return names().length
      }, waiting)
      .toBeGreaterThan(0)
    await first.close()
    const ports = {
      STOWAGE_API_PORT: new URL(first.node.apiUrl).port,
      STOWAGE_GATEWAY_PORT: new URL(first.node.gatewayUrl).port,
    }
    const other = await startFullNode(onTestFinished, { nats })
    await add('while cut', other.env)
    const second = await startFullNode(onTestFinished, { nats, env: ports })
    await add('after', second.env)
    await expect.poll(() => names().slice(-2), waiting).toEqual(['while cut', 'after'])
    stop.abort(new Error('SIGINT'))
    await following
    expect(names()).not.toContain('before')
    const numbers = jsonLines(stdout.bytes.toString()).map(({ sequence }) => sequence)
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b))
  })
})
