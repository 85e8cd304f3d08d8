import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { removeNodeAddress, stateFile, writeNodeAddress } from '../../src/client/node-address.ts'
import { settings } from '../../src/config.ts'
import { AppError } from '../../src/errors.ts'
import { fakeNode, openCli, run, testFolder } from '../support/cli.ts'

const cid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
const nowhere = { STOWAGE_API_URL: 'http://127.0.0.1:9', STOWAGE_GATEWAY_URL: 'http://127.0.0.1:9' }

describe('the command line', () => {
  test('without a node it says how to start one, and ends with 4', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    for (const command of ['status', 'stat', 'ls', 'cat', 'get']) {
      const ran = await run(folder, command === 'status' ? [command] : [command, cid], { env: nowhere })
      expect(ran).toMatchObject({
        exitCode: 4,
        stdout: '',
        stderr: 'stowage: no node answers at http://127.0.0.1:9; start one with `npm start` (or `stowage serve`)\n',
      })
    }
    const json = await run(folder, ['--json', 'add', '-'], { env: nowhere, stdin: 'x' })
    expect(json.exitCode).toBe(4)
    expect(JSON.parse(json.stderr)).toEqual({
      code: 'node_unreachable',
      message: 'no node answers at http://127.0.0.1:9',
      hint: 'start one with `npm start` (or `stowage serve`)',
    })
  })

  test('every command has examples in its help, and the program lists them and the exit codes', async ({
    onTestFinished,
  }) => {
    const folder = await testFolder(onTestFinished)
    const help = await run(folder, ['--help'])
    expect(help).toMatchObject({ exitCode: 0, stderr: '' })
    expect(help.stdout).toMatch(/Exit codes:\n {2}0 .*\n(.*\n)*.* 6 +the storage is full/)
    for (const command of [
      'serve',
      'add',
      'get',
      'cat',
      'ls',
      'stat',
      'car',
      'rm',
      'name',
      'names',
      'events',
      'index',
      'status',
      'doctor',
      'nats-permissions',
    ]) {
      expect(help.stdout).toMatch(new RegExp(`^  ${command} `, 'm'))
      const own = await run(folder, [command, '--help'])
      expect(own.exitCode).toBe(0)
      expect(own.stdout).toMatch(/Examples:\n {2}\$/)
    }
  })

  test('the help of serve names every setting, and its flags reach the node', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    const { stdout } = await run(folder, ['serve', '--help'])
    const flat = stdout.replace(/\s+/g, ' ')
    for (const [name, setting] of Object.entries(settings)) {
      const value = 'default' in setting ? `, default ${setting.default}` : ''
      expect(flat).toContain(`(STOWAGE_${name}${value})`)
    }
    const seen: object[] = []
    const serve = async (flags: object) => {
      seen.push(flags)
      return 7
    }
    const ran = await run(folder, ['serve', '--gateway-port', '80', '--nats-tls-ca', '/ca'], { io: { serve } })
    expect(ran.exitCode).toBe(7)
    expect(seen).toEqual([{ GATEWAY_PORT: '80', NATS_TLS_CA: '/ca' }])
  })

  test('wrong usage is exit code 2 and one line, as JSON too', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    for (const argv of [['fly'], ['add', '--fly'], ['cat'], ['cat', cid, 'more'], ['add', '--as', 'a/b', '-']]) {
      const ran = await run(folder, argv, { env: nowhere })
      expect(ran.exitCode).toBe(2)
      expect(ran.stderr).toMatch(/^stowage: .+\n$/)
      const json = await run(folder, [...argv, '--json'], { env: nowhere })
      expect(json.exitCode).toBe(2)
      expect(JSON.parse(json.stderr)).toMatchObject({ code: 'request_invalid' })
    }
    expect((await run(folder, [])).exitCode).toBe(2)
  })

  test('a mistyped variable is a notice, and the command goes on', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    const env = { STOWAGE_API_ULR: 'http://127.0.0.1:1', STOWAGE_API_URL: 'http://127.0.0.1:1' }
    const { exitCode, stderr } = await run(folder, ['status'], { env })
    // No node answers there.
    expect(exitCode).toBe(4)
    expect(stderr).toContain('STOWAGE_API_ULR is no setting and is passed over; did you mean STOWAGE_API_URL?\n')
    expect((await run(folder, ['status', '--json'], { env })).stderr).not.toContain('ULR')
  })

  test('an interrupt is exit code 130 and says nothing', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    const stop = new AbortController()
    const url = await fakeNode(onTestFinished, () => stop.abort(new Error('SIGINT')))
    const ran = await run(folder, ['status'], { env: { STOWAGE_API_URL: url }, signal: stop.signal })
    expect(ran).toMatchObject({ exitCode: 130, stderr: '' })
  })

  test('what a node answers cannot act on the terminal', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    const url = await fakeNode(onTestFinished, (_request, response) => {
      response.writeHead(404, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ code: 'path_not_found', message: 'no \u001b[2Jx', hint: 'look\u0007' }))
    })
    const ran = await run(folder, ['stat', cid], { env: { STOWAGE_API_URL: url } })
    expect(ran).toMatchObject({ exitCode: 3, stderr: 'stowage: no \\u{1b}[2Jx; look\\u{7}\n' })
  })

  test('a reader that leaves early is no failure', async ({ onTestFinished }) => {
    const { run } = await openCli(onTestFinished)
    const root = (await run(['add', '-q', '-'], { stdin: 'x'.repeat(100_000) })).stdout.trim()
    const gone = new Writable({
      write: (_chunk, _encoding, done) => done(Object.assign(new Error('gone'), { code: 'EPIPE' })),
    })
    expect(await run(['cat', root], { io: { stdout: gone } })).toMatchObject({ exitCode: 0, stderr: '' })
  })

  test('status shows every fact with its unit, and with --json the answer itself', async ({ onTestFinished }) => {
    const { run } = await openCli(onTestFinished)
    const { stdout } = await run(['status'])
    expect(stdout).toMatch(/^version +9\.9\.9$/m)
    expect(stdout).toMatch(/^nats durability +always$/m)
    expect(stdout).toMatch(/^nats payload max +8\.00 MiB$/m)
    expect(stdout).toMatch(/^store new blocks +1,234$/m)
    expect(JSON.parse((await run(['status', '--json'])).stdout)).toMatchObject({ site: 'paris' })
  })
})

describe('finding the node', () => {
  const seenBy = async (onFinished: Parameters<typeof testFolder>[0]) => {
    const seen: (string | undefined)[] = []
    const url = await fakeNode(onFinished, (request, response) => {
      request.resume()
      seen.push(request.headers.authorization)
      response.end(JSON.stringify({ cid, size: 1, blocks: 1, newBlocks: 1 }))
    })
    return { url, seen }
  }

  test('the token is that of the environment, else of the data folder, else of the node that runs', async ({
    onTestFinished,
  }) => {
    const folder = await testFolder(onTestFinished)
    const { url, seen } = await seenBy(onTestFinished)
    const elsewhere = join(folder, 'elsewhere')
    await mkdir(elsewhere)
    await writeFile(join(elsewhere, 'admin.token'), 'of-the-running\n')
    const address = { apiUrl: url, gatewayUrl: url, dataDir: elsewhere, pid: 1 }
    const env = { HOME: folder }
    await writeNodeAddress(address, env)
    const add = (more: Record<string, string> = {}) =>
      run(folder, ['add', '-'], { stdin: 'x', env: { ...env, ...more } })
    expect((await add()).exitCode).toBe(0)
    await mkdir(join(folder, 'stowage-data'))
    await writeFile(join(folder, 'stowage-data', 'admin.token'), 'of-the-folder')
    await add()
    await add({ STOWAGE_TOKEN: 'of-the-environment' })
    expect(seen).toEqual(['Bearer of-the-running', 'Bearer of-the-folder', 'Bearer of-the-environment'])
    await removeNodeAddress({ ...address, pid: 2 }, env)
    expect((await add()).exitCode).toBe(0)
    await removeNodeAddress(address, env)
    expect((await run(folder, ['status'], { env: { ...env, STOWAGE_API_PORT: '9' } })).exitCode).toBe(4)
    expect(stateFile({ XDG_STATE_HOME: '/s' })).toBe('/s/stowage/node.json')
  })

  test('a token from a file is not sent to another machine', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    await mkdir(join(folder, 'stowage-data'))
    await writeFile(join(folder, 'stowage-data', 'admin.token'), 'secret')
    const { locateNode } = await import('../../src/client/node-address.ts')
    const { readConfig } = await import('../../src/config.ts')
    const located = (url: string) =>
      locateNode(readConfig({ STOWAGE_API_URL: url }), { HOME: folder }, { cwd: folder, given: () => false })
    expect((await located('https://stowage.example')).token).toBeUndefined()
    expect((await located('http://127.0.0.1.example')).token).toBeUndefined()
    expect((await located('http://localhost:8081')).token).toBe('secret')
  })
})

describe('doctor', () => {
  const free = { STOWAGE_API_PORT: '0', STOWAGE_GATEWAY_PORT: '0', STOWAGE_NATS_PORT: '0' }
  const levels = (stdout: string) =>
    Object.fromEntries(
      stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { name: string; level: string })
        .map(({ name, level }) => [name, level]),
    )

  test('without a node everything else is checked, and only the node is a warning', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    const ran = await run(folder, ['doctor', '--json'], { env: { ...free, STOWAGE_DISK_RESERVE_BYTES: '1' } })
    expect(ran.exitCode).toBe(0)
    expect(levels(ran.stdout)).toMatchObject({
      'node.js': 'ok',
      settings: 'ok',
      'nats-server': 'ok',
      'data folder': 'ok',
      'admin token': 'ok',
      disk: 'ok',
      node: 'warn',
      'API port': 'ok',
    })
  })

  test('with a node its server, its sync mode and its limits are shown', async ({ onTestFinished }) => {
    const { run } = await openCli(onTestFinished)
    const ran = await run(['doctor'], { env: { STOWAGE_DISK_RESERVE_BYTES: '1' } })
    expect(ran.exitCode).toBe(0)
    expect(ran.stdout).toMatch(/^ok {4}node +answers at http/m)
    expect(ran.stdout).toMatch(/^ok {4}NATS version +2\.15\.1$/m)
    expect(ran.stdout).toMatch(/^ok {4}durability +always$/m)
  })

  test('each thing that is wrong fails with what to do, and the exit code is 1', async ({ onTestFinished }) => {
    const folder = await testFolder(onTestFinished)
    const taken = createServer().listen(0, '127.0.0.1')
    onTestFinished(() => void taken.close())
    await new Promise((resolve) => taken.once('listening', resolve))
    const { port } = taken.address() as { port: number }
    await mkdir(join(folder, 'stowage-data'))
    await writeFile(join(folder, 'stowage-data', 'admin.token'), 'x')
    await chmod(join(folder, 'stowage-data', 'admin.token'), 0o644)
    const findNatsServer = async () => {
      throw new AppError('SERVER_TOO_OLD', 'nats-server 2.9 is too old')
    }
    const env = { ...free, STOWAGE_GATEWAY_PORT: String(port), STOWAGE_DISK_RESERVE_BYTES: '1000TiB' }
    const ran = await run(folder, ['doctor', '--json'], { env, io: { findNatsServer } })
    expect(ran.exitCode).toBe(1)
    expect(levels(ran.stdout)).toMatchObject({
      'gateway port': 'fail',
      'admin token': 'fail',
      disk: 'fail',
      'nats-server': 'fail',
      'API port': 'ok',
    })
    expect(ran.stdout).toContain('choose another one with STOWAGE_GATEWAY_PORT')
    const url = await run(folder, ['doctor'], { env: { ...free, STOWAGE_NATS_URL: 'nats://127.0.0.1:9' } })
    expect(url.stdout).toMatch(/^fail {2}NATS server +not to be reached: 127\.0\.0\.1:9 \(ECONNREFUSED\)/m)
    const settings = await run(folder, ['doctor'], { env: { STOWAGE_SHARDS: '3' } })
    expect(settings).toMatchObject({ exitCode: 1, stdout: expect.stringMatching(/^fail {2}settings +STOWAGE_SHARDS/m) })
  })
})
