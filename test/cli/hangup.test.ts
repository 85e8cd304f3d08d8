import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { expect, test, vi } from 'vitest'
import { fakeNode, testFolder } from '../support/cli.ts'
import { program } from '../support/node-process.ts'

const cid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'

for (const signals of [['SIGHUP'], ['SIGHUP', 'SIGHUP'], ['SIGTERM'], ['SIGINT']] as const) {
  for (const argv of [
    ['get', cid, '-o', 'x'],
    ['car', 'export', cid, '-o', 'x.car'],
  ]) {
    test(`${signals.join(' and ')} during \`${argv[0]}\` leaves nothing half written`, async ({ onTestFinished }) => {
      const folder = await testFolder(onTestFinished)
      const node = { cid, kind: 'file', codec: 'raw', size: 1000, links: 0, blockBytes: 1000 }
      const url = await fakeNode(onTestFinished, (request, response) => {
        if (request.url?.startsWith('/api/') === true) response.end(JSON.stringify(node))
        else response.write(Buffer.alloc(500))
      })
      const env = { PATH: '', HOME: folder, STOWAGE_API_URL: url, STOWAGE_GATEWAY_URL: url }
      const child = spawn(process.execPath, [program, ...argv], { cwd: folder, env, stdio: 'ignore' })
      onTestFinished(() => void child.kill('SIGKILL'))
      const exited = once(child, 'exit')
      await vi.waitFor(async () => expect(await readdir(folder)).toEqual([expect.stringMatching(/\.part$/)]), {
        timeout: 60_000,
      })
      for (const signal of signals) child.kill(signal)
      expect(await exited).toEqual([130, null])
      expect(await readdir(folder)).toEqual([])
    }, 90_000)
  }
}

test('a current folder that is gone is one line that says so, whatever the command', async ({ onTestFinished }) => {
  const folder = await testFolder(onTestFinished)
  for (const argv of [['status'], ['add', 'x'], ['get', cid], ['serve'], ['doctor']]) {
    const script = 'mkdir gone && cd gone && rmdir ../gone && exec "$0" "$@"'
    const child = spawn('/bin/sh', ['-c', script, process.execPath, program, ...argv], {
      cwd: folder,
      env: { PATH: '/usr/bin:/bin', HOME: folder },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let stderr = ''
    child.stderr.on('data', (chunk) => {
      stderr += chunk
    })
    const [exitCode] = await once(child, 'close')
    expect([argv, exitCode, stderr]).toEqual([
      argv,
      1,
      'stowage: the current folder does not exist any more; go to another one with cd\n',
    ])
  }
}, 90_000)
