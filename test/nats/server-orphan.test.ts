import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startTimeOf } from '../../src/lib/process-identity.ts'
import { stopOrphan } from '../../src/nats/server-orphan.ts'

/** A data folder whose record names a process that runs with `configFile`. */
async function recorded(configFileOf: (dataDir: string) => string) {
  const dataDir = await mkdtemp(join(tmpdir(), 'stowage-orphan-'))
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }))
  const idle = 'setInterval(() => undefined, 1000)'
  const child = spawn(process.execPath, ['-e', idle, '--', '-c', configFileOf(dataDir)], { stdio: 'ignore' })
  onTestFinished(() => void child.kill('SIGKILL'))
  await new Promise((resolve) => child.once('spawn', resolve))
  const pid = child.pid ?? 0
  await writeFile(join(dataDir, 'nats-server.pid'), JSON.stringify({ pid, started: await startTimeOf(pid) }))
  return { dataDir, pid }
}

const fileIn = (dataDir: string) => join(dataDir, 'nats-server.conf')

test('a process that runs with our configuration file is stopped', async () => {
  const { dataDir, pid } = await recorded(fileIn)
  expect(await stopOrphan(dataDir, fileIn(dataDir))).toBe(pid)
  expect(await startTimeOf(pid)).toBeUndefined()
})

test('the server of the folder that ours was copied from stays, also where its path ends with ours', async () => {
  const { dataDir, pid } = await recorded((dataDir) => `/original${fileIn(dataDir)}`)
  expect(await stopOrphan(dataDir, fileIn(dataDir))).toBeUndefined()
  expect(await startTimeOf(pid)).toBeDefined()
})

test('an empty record, as a power cut leaves it, is none', async () => {
  const { dataDir, pid } = await recorded(fileIn)
  await writeFile(join(dataDir, 'nats-server.pid'), '')
  expect(await stopOrphan(dataDir, fileIn(dataDir))).toBeUndefined()
  expect(await startTimeOf(pid)).toBeDefined()
})
