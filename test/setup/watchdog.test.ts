import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { expect, inject, type TestContext, test, vi } from 'vitest'
import { type NodeProcess, startNodeProcess } from '../support/node-process.ts'

const spin = pathToFileURL(resolve(import.meta.dirname, '../support/spin-on-signal.mjs')).href
const patience = { timeout: 60_000, interval: 50 }

/** A node in a process of its own, which spins when it is told to; what is left of it is killed at the end. */
async function start(
  onFinished: TestContext['onTestFinished'],
  watchdogSeconds: string,
  dataDir?: string,
): Promise<NodeProcess> {
  const folder = dataDir ?? (await mkdtemp(join(tmpdir(), 'stowage-watchdog-')))
  const node = await startNodeProcess({
    dataDir: folder,
    natsServer: inject('natsServer'),
    readyMsMax: 120_000,
    env: { STOWAGE_WATCHDOG_SECONDS: watchdogSeconds, NODE_OPTIONS: `--import ${spin}` },
  })
  onFinished(async () => {
    await node.end('SIGKILL')
    // A node that did not end by itself leaves its server.
    await serverPid(folder).then(
      (pid) => process.kill(pid, 'SIGKILL'),
      () => undefined,
    )
    if (dataDir === undefined) await rm(folder, { recursive: true, force: true, maxRetries: 10 })
  })
  return node
}

const serverPid = async (dataDir: string): Promise<number> =>
  (JSON.parse(await readFile(join(dataDir, 'nats-server.pid'), 'utf8')) as { readonly pid: number }).pid

const isHealthy = ({ apiUrl }: NodeProcess): Promise<boolean> =>
  fetch(`${apiUrl}/healthz`, { signal: AbortSignal.timeout(2_000) }).then(
    ({ ok }) => ok,
    () => false,
  )

interface FatalLine {
  readonly level: number
  readonly time: string
  readonly msg: string
  readonly stacks: readonly string[]
}

function fatalLine(node: NodeProcess): FatalLine | undefined {
  const line = node
    .output()
    .split('\n')
    .find((one) => one.startsWith('{"level":60'))
  return line === undefined ? undefined : (JSON.parse(line) as FatalLine)
}

for (const [kind, signal, place] of [
  ['in microtasks', 'SIGUSR2', 'spinInMicrotasks'],
  ['in one turn', 'SIGHUP', 'spinAtOnce'],
] as const) {
  test(`a node that spins ${kind} says where, ends with code 8, and the next start is well`, async ({
    onTestFinished,
  }) => {
    const node = await start(onTestFinished, '2')
    const server = await serverPid(node.dataDir)
    process.kill(node.pid, signal)
    await vi.waitFor(() => expect(node.hasEnded()).toBe(true), patience)
    expect(await node.end('SIGKILL')).toBe(8)
    const { msg, time, stacks } = fatalLine(node) ?? { msg: '', time: '', stacks: [] }
    expect(msg).toContain('the event loop is blocked')
    expect(Date.parse(time)).toBeGreaterThan(0)
    expect(stacks.length).toBeGreaterThan(0)
    expect(stacks.join('\n')).toContain(`at ${place} (${spin}:`)
    // Its server was left, and is in nobody's way.
    const next = await start(onTestFinished, '2', node.dataDir)
    expect(await serverPid(node.dataDir)).not.toBe(server)
    // It was ended; who inherited it has to take note of that, which takes a busy machine a moment.
    await vi.waitFor(() => expect(() => process.kill(server, 0)).toThrow(), patience)
    expect(await isHealthy(next)).toBe(true)
    expect(await next.end('SIGTERM')).toBe(0)
  }, 120_000)
}

test('without a watchdog a node that spins stays', async ({ onTestFinished }) => {
  const node = await start(onTestFinished, '0')
  process.kill(node.pid, 'SIGUSR2')
  await vi.waitFor(async () => expect(await isHealthy(node)).toBe(false), patience)
  await delay(5_000)
  expect([node.hasEnded(), await isHealthy(node), fatalLine(node)]).toEqual([false, false, undefined])
}, 120_000)
