import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { isOnPath } from './bench.ts'
import { temporaryFolder } from './cleanup.ts'
import type { HttpResult } from './http-job.ts'
import { runJob } from './run-job.ts'

const seconds = 5

export interface Load {
  readonly connections: number
  readonly accept?: string
  /** Asked for in turn, below the URL; only wrk does it, the other asks for the first alone. */
  readonly paths?: readonly string[]
}

export const loadGenerator = (): string => (isOnPath('wrk') ? 'wrk' : 'own load generator (wrk is not on PATH)')

/** GETs a second over connections that stay open. @throws when an answer is no success */
export async function requestRate(url: string, { connections, accept, paths }: Load): Promise<number> {
  if (!isOnPath('wrk')) {
    const first = `${url}${paths?.[0] ?? ''}`
    const job = { kind: 'requests', url: first, connections, seconds }
    const { count, seconds: took } = await runJob<HttpResult>('http-client.ts', job)
    return count / took
  }
  const header = accept === undefined ? [] : ['-H', `Accept: ${accept}`]
  const script = paths === undefined ? [] : ['-s', await pathScript(new URL(url).pathname, paths)]
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '20s', ...header, ...script, url]
  const { stdout } = await promisify(execFile)('wrk', args)
  // It counts refusals as requests.
  if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(stdout.replaceAll('\n', ' '))
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1])
}

async function pathScript(base: string, paths: readonly string[]): Promise<string> {
  const file = join(await temporaryFolder('wrk'), 'paths.lua')
  const list = paths.map((path) => JSON.stringify(base + path)).join(',')
  const turn = 'at = at % #paths + 1\n  return wrk.format("GET", paths[at])'
  await writeFile(file, `local paths = {${list}}\nlocal at = 0\nfunction request()\n  ${turn}\nend\n`)
  return file
}
