import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openNodeCli } from '../support/full-node.ts'
import { copies } from '../support/placed.ts'

test('a policy is checked, planned, set, shown as it was, and taken back; why says which rule and what happened', async ({
  onTestFinished,
}) => {
  const { run, folder } = await openNodeCli(onTestFinished, { STOWAGE_SITE: 'home' })
  const file = join(folder, 'policy.json')
  await writeFile(file, JSON.stringify(copies(2)))
  await run(['add', '-q', '--name', 'docs/a.txt', '-'], { stdin: 'x'.repeat(5000) })
  await expect.poll(async () => (await run(['policy', 'plan', '--policy', file])).stdout).toContain('1 objects')

  const plan = (await run(['policy', 'plan', '--policy', file])).stdout
  expect(plan).toContain('to be made: 1 copies, 4.88 KiB')
  expect(plan).toContain('home/b  1 copies  4.88 KiB  a new store')
  expect(await run(['policy', 'get'])).toMatchObject({ exitCode: 3 })
  expect((await run(['policy', 'check', file])).stdout).toBe('the document is a policy\n')
  const wrong = await run(['policy', 'check', '-'], { stdin: JSON.stringify(copies(0)) })
  expect(wrong).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringContaining('rules[0].copies') })
  expect((await run(['policy', 'check', '-'], { stdin: '{' })).stderr).toContain('stdin is no JSON')

  expect((await run(['policy', 'set', file, '--if-absent'])).stdout).toMatch(
    /^the policy is set: revision \d+, rules all\n$/,
  )
  expect(await run(['policy', 'set', file, '--if-absent'])).toMatchObject({ exitCode: 7 })
  const revision = (JSON.parse((await run(['policy', 'get', '--json'])).stdout) as { revision: number }).revision
  await run(['policy', 'set', '-'], { stdin: JSON.stringify(copies(1)) })
  expect(JSON.parse((await run(['policy', 'get', '--at', String(revision)])).stdout)).toMatchObject({
    rules: [{ copies: { min: 2, max: 2 } }],
  })
  expect((await run(['policy', 'undo'])).stdout).toContain('the policy is set back')
  expect((await run(['policy', 'history'])).stdout.trimEnd().split('\n')).toHaveLength(3)

  await expect.poll(async () => (await run(['why', 'docs/a.txt'])).stdout, { timeout: 20_000 }).toContain('2 verified')
  const why = (await run(['why', 'docs/a.txt'])).stdout
  for (const part of [
    'docs/a.txt',
    'yes  all  it has no when',
    'copy.requested',
    'copy.verified',
    'home/b',
    'object.added',
  ]) {
    expect(why).toContain(part)
  }
  expect(JSON.parse((await run(['why', 'docs/a.txt', '--json'])).stdout)).toMatchObject({ rule: 'all', verified: 2 })
  expect(await run(['why', 'nobody'])).toMatchObject({ exitCode: 3 })
})

test('reads of a time are replayed against another policy', async ({ onTestFinished }) => {
  const { run, node } = await openNodeCli(onTestFinished, { STOWAGE_SITE: 'home' })
  const { stdout } = await run(['add', '-q', '-'], { stdin: 'read me' })
  for (let i = 0; i < 3; i++) await (await fetch(`${node.gatewayUrl}/ipfs/${stdout.trim()}`)).text()
  const asked = ['policy', 'backtest', '--reads', '1h..', '--policy', '-']
  const options = { stdin: JSON.stringify(copies(1)) }
  await expect
    .poll(async () => (await run(asked, options)).stdout, { timeout: 20_000 })
    .toContain('3 reads of 1 objects: 100.0 %')
  expect((await run(['policy', 'backtest', '--reads', 'soon'])).exitCode).toBe(2)
})

test('sites and stores are listed, and a store is added, drained and removed', async ({ onTestFinished }) => {
  const { run } = await openNodeCli(onTestFinished, { STOWAGE_SITE: 'home' })
  await expect.poll(async () => (await run(['store', 'ls'])).stdout).toContain('takes puts')
  expect((await run(['site', 'ls'])).stdout).toMatch(/^home {2}up {2}this site {2}stores a\n$/)
  expect((await run(['store', 'add', 'b', '--shards', '4'])).stdout).toBe('home/b is active, 4 shards\n')
  expect((await run(['store', 'reshard', 'b', '--shards', '8'])).stdout).toBe(
    'home/c is active, 8 shards\nhome/b is draining, 4 shards\n',
  )
  expect((await run(['store', 'rm', 'b'])).stdout).toBe('home/b is removed, 4 shards\n')
  expect((await run(['store', 'ls'])).stdout).not.toContain('home/b')
  expect((await run(['store', 'ls', '--all'])).stdout).toContain('home/b  removed')
  expect(await run(['store', 'drain', 'a'])).toMatchObject({
    exitCode: 7,
    stderr: expect.stringContaining('takes the puts'),
  })
  expect(await run(['site', 'remove', 'mars'])).toMatchObject({ exitCode: 3 })
})
