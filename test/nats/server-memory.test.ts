import { readFile } from 'node:fs/promises'
import { expect, onTestFinished, test } from 'vitest'
import { memoryLimit } from '../../src/lib/memory-limit.ts'
import { MiB } from '../../src/lib/units.ts'
import { serverMemoryLimit } from '../../src/nats/server-memory.ts'
import { serverPid, startServing } from '../support/serving.ts'

const container = { bytes: 512 * MiB, from: 'cgroup' } as const

test('by itself the server gets two fifths, else what the setting says, and a GOMEMLIMIT of the user stays', () => {
  expect(Number(serverMemoryLimit('auto', undefined, container))).toBe(Math.floor(512 * MiB * 0.4))
  expect(serverMemoryLimit('auto', '', container)).toBeDefined()
  expect(serverMemoryLimit(300 * MiB, undefined, container)).toBe(String(300 * MiB))
  expect(serverMemoryLimit('off', undefined, container)).toBeUndefined()
  expect(serverMemoryLimit(300 * MiB, '1GiB', container)).toBeUndefined()
})

const hasProc = process.platform === 'linux'

/** GOMEMLIMIT of the nats-server of a node that was started with `env`. */
async function limitOf(env: Readonly<Record<string, string>>): Promise<string | undefined> {
  const node = await startServing(onTestFinished, { env })
  const environment = await readFile(`/proc/${await serverPid(node.dataDir)}/environ`, 'utf8')
  await node.end('SIGTERM')
  return /(?:^|\0)GOMEMLIMIT=([^\0]*)/.exec(environment)?.[1]
}

test.runIf(hasProc)('the child has it in its environment', async () => {
  const expected = String(Math.floor((await memoryLimit()).bytes * 0.4))
  expect(await limitOf({})).toBe(expected)
  expect(await limitOf({ STOWAGE_NATS_MEMORY_BYTES: '200MiB' })).toBe(String(200 * MiB))
  expect(await limitOf({ STOWAGE_NATS_MEMORY_BYTES: '200MiB', GOMEMLIMIT: '1GiB' })).toBe('1GiB')
  expect(await limitOf({ STOWAGE_NATS_MEMORY_BYTES: 'off' })).toBeUndefined()
})
