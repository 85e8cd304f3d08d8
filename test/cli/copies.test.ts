import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openNodeCli } from '../support/full-node.ts'
import { setPolicy } from '../support/placement-node.ts'

test('add waits for copies, status shows them, and what is provisional is said on stderr', async ({
  onTestFinished,
}) => {
  const cli = await openNodeCli(onTestFinished)
  await setPolicy(cli, { version: 1, rules: [{ name: 'two', copies: 2 }] })
  await writeFile(join(cli.folder, 'a.txt'), 'a file')
  const added = await cli.run([
    'add',
    '--json',
    '--wait',
    'policy',
    '--wait-timeout',
    '20',
    '--name',
    'docs/a',
    'a.txt',
  ])
  const reply = JSON.parse(added.stdout) as {
    readonly cid: string
    readonly copies: object
    readonly provisional: boolean
  }
  expect(reply).toMatchObject({ provisional: false, copies: { verified: 2, wanted: 2 } })
  const status = await cli.run(['status', 'docs/a'])
  expect(status.stdout).toContain(reply.cid)
  expect(status.stdout).toMatch(/rule +two/)
  expect(status.stdout).toMatch(/copies +2 verified, 2 wanted/)
  expect(status.stdout).toMatch(/local\/b +verified, verified 20/)
  const table = await cli.run(['status', '--watch'])
  expect(table.stdout).toMatch(/local +a +takes puts/)

  await setPolicy(cli, { version: 1, rules: [{ name: 'mars', copies: 2, sites: ['role=mars'] }] })
  await writeFile(join(cli.folder, 'b.txt'), 'another file')
  for (let line = ''; !line.includes('0 of 2 copies'); ) line = (await cli.run(['add', 'b.txt'])).stderr
  expect((await cli.run(['add', '--wait', 'soon', 'b.txt'])).stderr).toContain('--wait is policy, local or a number')
  expect((await cli.run(['status', 'docs/a'])).stdout).toContain('provisional')

  expect((await cli.run(['projection', 'add', 'blog', '--site', 'local', 'docs/'])).stdout).toBe(
    'blog at local: docs/\n',
  )
  expect((await cli.run(['projection', 'ls'])).stdout).toBe('blog at local: docs/\n')
  expect((await cli.run(['projection', 'rm', 'blog'])).stdout).toBe('removed blog at local: docs/\n')
  expect((await cli.run(['projection', 'ls'])).stdout).toBe('')
}, 60_000)
