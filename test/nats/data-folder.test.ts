import { spawn } from 'node:child_process'
import { chmod, cp, mkdtemp, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { hostname, tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import type { AppError } from '../../src/errors.ts'
import { startTimeOf } from '../../src/lib/process-identity.ts'
import { openDataFolder } from '../../src/nats/data-folder.ts'

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'stowage-folder-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

async function open(path: string, options = {}) {
  const folder = await openDataFolder(path, options)
  onTestFinished(() => folder.close())
  return folder
}

const lockOf = (path: string) => join(path, 'node.lock')

async function leaveLock(path: string, lock: object, ageMs = 0): Promise<void> {
  await writeFile(lockOf(path), JSON.stringify({ id: 'left', host: hostname(), ...lock }))
  const then = new Date(Date.now() - ageMs)
  await utimes(lockOf(path), then, then)
}

async function endedPid(): Promise<number> {
  const child = spawn('true')
  await new Promise((resolve) => child.once('exit', resolve))
  return child.pid ?? 0
}

test('a folder in use is refused with the process and the host that use it', async () => {
  const path = await temporaryFolder()
  await open(path)
  await expect(open(path)).rejects.toMatchObject({
    code: 'DATA_FOLDER_LOCKED',
    message: expect.stringMatching(`process ${process.pid} on ${hostname()}`),
    hint: expect.stringContaining('STOWAGE_DATA'),
  })
})

test('a closed folder can be opened again', async () => {
  const path = await temporaryFolder()
  await (await open(path)).close()
  await open(path)
})

test('the lock of a process that has ended is taken over', async () => {
  const path = await temporaryFolder()
  await leaveLock(path, { pid: await endedPid(), started: '1' })
  await open(path)
  expect(JSON.parse(await readFile(lockOf(path), 'utf8'))).toMatchObject({ pid: process.pid })
})

test('the lock of a process whose pid another one has now is taken over', async () => {
  const path = await temporaryFolder()
  await leaveLock(path, { pid: process.pid, started: 'long ago' })
  await open(path)
})

test('the lock of a running process holds, however old its heartbeat', async () => {
  const path = await temporaryFolder()
  await leaveLock(path, { pid: process.pid, started: await startTimeOf(process.pid) }, 3_600_000)
  await expect(open(path)).rejects.toMatchObject({ code: 'DATA_FOLDER_LOCKED' })
})

test('the lock of another host holds while its heart beats, and is taken over when it has not for 30 s', async () => {
  const path = await temporaryFolder()
  await leaveLock(path, { pid: 1, started: '1', host: 'elsewhere' }, 20_000)
  await expect(open(path)).rejects.toMatchObject({ code: 'DATA_FOLDER_LOCKED' })
  await leaveLock(path, { pid: 1, started: '1', host: 'elsewhere' }, 31_000)
  await open(path)
})

test('a lock that a crash cut off is taken over', async () => {
  const path = await temporaryFolder()
  await writeFile(lockOf(path), '{"pid":1')
  await open(path)
})

test('of many that take a stale lock over at once, one wins', async () => {
  const pid = await endedPid()
  for (let round = 0; round < 20; round++) {
    const path = await temporaryFolder()
    await leaveLock(path, { pid, started: '1' })
    // Not in step: some look at the lock while others are already taking it.
    const openLater = async (turns: number) => {
      for (let turn = 0; turn < turns; turn++) await setImmediate()
      return open(path)
    }
    const results = await Promise.allSettled(Array.from({ length: 40 }, (_, index) => openLater(index * 3)))
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'DATA_FOLDER_LOCKED' })
    }
  }
})

test('a file in the place of the folder is told so', async () => {
  const path = join(await temporaryFolder(), 'file')
  await writeFile(path, '')
  for (const folder of [path, join(path, 'below')]) {
    await expect(open(folder)).rejects.toMatchObject({
      code: 'DATA_FOLDER_UNUSABLE',
      message: expect.stringContaining('not a folder'),
    })
  }
})

// root may write everywhere, so the check can only be seen by another user.
test.skipIf(userInfo().uid === 0)('a folder that may not be written to is told so', async () => {
  const path = await temporaryFolder()
  await chmod(path, 0o500)
  await expect(open(path)).rejects.toMatchObject({
    code: 'DATA_FOLDER_UNUSABLE',
    message: expect.stringContaining('may not write'),
    hint: expect.stringContaining('STOWAGE_DATA'),
  })
})

test('a folder where none can be made is told so, and does not keep anybody waiting', async () => {
  // Of /proc only Linux knows; elsewhere it is a folder that root may make.
  const places = ['/dev/null', '/dev/null/x', ...(process.platform === 'linux' ? ['/proc/foo', '/proc/foo/bar'] : [])]
  for (const place of places) {
    await expect(open(place)).rejects.toMatchObject({
      code: 'DATA_FOLDER_UNUSABLE',
      message: expect.stringContaining(place),
      hint: expect.stringContaining('STOWAGE_DATA'),
    })
  }
  const at = await temporaryFolder()
  await symlink('circle', join(at, 'circle'))
  for (const name of ['circle', 'n'.repeat(300)]) {
    await expect(open(join(at, name, 'data'))).rejects.toMatchObject({ code: 'DATA_FOLDER_UNUSABLE' })
  }
})

test('a copy of a folder in use says where the lock is from, and how to go on', async () => {
  const at = await temporaryFolder()
  const original = await open(join(at, 'original'))
  await cp(original.path, join(at, 'copy'), { recursive: true })
  const refused = open(join(at, 'copy'))
  await expect(refused).rejects.toMatchObject({
    code: 'DATA_FOLDER_LOCKED',
    message: expect.stringMatching(
      new RegExp(`process ${process.pid} on ${hostname()} since 20.*${original.path}.*a copy`),
    ),
    hint: expect.stringMatching(/remove .*copy\/node\.lock/),
  })
  await rm(lockOf(join(at, 'copy')))
  await open(join(at, 'copy'))
})

test('the same folder by another path is in use, and no copy', async () => {
  const at = await temporaryFolder()
  const held = JSON.parse(await readFile(lockOf((await open(at)).path), 'utf8'))
  // As a bind mount shows it: another path, the same folder.
  await leaveLock(at, { ...held, path: '/elsewhere' })
  const error = await open(at).catch((error: unknown) => error as AppError)
  expect(error).toMatchObject({ code: 'DATA_FOLDER_LOCKED', message: expect.stringMatching(/as \/elsewhere$/) })
  expect(String((error as AppError).hint)).not.toContain('copy')
})

test('the lock of another host says how long it is waited for', async () => {
  const path = await temporaryFolder()
  await leaveLock(path, { pid: 1, started: '1', host: 'elsewhere', path: '/srv/a', since: '2026-01-02T03:04:05.000Z' })
  await expect(open(path)).rejects.toMatchObject({
    message: expect.stringContaining('process 1 on elsewhere since 2026-01-02T03:04:05.000Z as /srv/a'),
    hint: expect.stringMatching(/wait 30 s or remove .*node\.lock/),
  })
})

test('an empty lock, as a power cut left them once, is taken over', async () => {
  const path = await temporaryFolder()
  await writeFile(lockOf(path), '')
  await open(path)
})
