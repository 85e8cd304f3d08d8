import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { ownProcess, processGone } from './cleanup.ts'

/**
 * Runs a client in a process of its own, so that it takes no time from the server's. The client measures itself, from its
 * request to the last byte of the reply, and prints one line of JSON.
 */
export async function runJob<Result>(
  script:
    | 'http-client.ts'
    | 'nats-client.ts'
    | 'obj-client.ts'
    | 'blocks-client.ts'
    | 'events-client.ts'
    | 'names-client.ts',
  job: unknown,
): Promise<Result> {
  const child = spawnScript(script, [JSON.stringify(job)])
  const parts: string[] = []
  const errors: string[] = []
  child.stdout?.setEncoding('utf8').on('data', (text: string) => parts.push(text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => errors.push(text))
  await once(child, 'close')
  if (child.exitCode !== 0) {
    const lines = errors.join('').split('\n')
    throw new Error(lines.find((line) => /Error/.test(line)) ?? `${script} ended with ${child.exitCode}`)
  }
  return JSON.parse(parts.join('')) as Result
}

export function spawnScript(script: string, args: readonly string[]): ChildProcess {
  const path = resolve(import.meta.dirname, script)
  const child = spawn(process.execPath, ['--import', 'tsx', path, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  ownProcess(child.pid)
  child.once('exit', () => processGone(child.pid))
  return child
}
