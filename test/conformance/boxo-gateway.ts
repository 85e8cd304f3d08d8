import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { runProgram } from './suite.ts'

/** Of the Go module, which is fetched when it is asked for; nothing of it is part of this repository. */
const boxoVersion = 'v0.42.1'

export interface BoxoGateway {
  readonly url: string
  close(): Promise<void>
}

/**
 * Builds the gateway of `boxo/main.go`, in a folder of its own.
 * @returns the program; `missing` says why there is none: no Go, or no Go module proxy
 */
export async function buildBoxo(folder: string): Promise<{ readonly program: string } | { readonly missing: string }> {
  const version = await runProgram('go', ['version'], { cwd: import.meta.dirname, env: process.env }).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    },
  )
  if (version === undefined) return { missing: 'Go is not installed' }
  await mkdir(folder, { recursive: true })
  await copyFile(join(import.meta.dirname, 'boxo', 'main.go'), join(folder, 'main.go'))
  await writeFile(join(folder, 'go.mod'), 'module stowage/boxo-car-gateway\n\ngo 1.25\n')
  const go = (...args: string[]) => runProgram('go', args, { cwd: folder, env: process.env })
  const got = await go('get', `github.com/ipfs/boxo/gateway@${boxoVersion}`)
  if (got.exitCode !== 0) return { missing: `boxo ${boxoVersion} cannot be had:\n${got.lines.slice(-5).join('\n')}` }
  const built = await go('build', '-o', 'boxo-car-gateway', '.')
  if (built.exitCode !== 0) throw new Error(`boxo/main.go does not build:\n${built.lines.join('\n')}`)
  return { program: join(folder, 'boxo-car-gateway') }
}

/** @param remoteUrl the gateway that it reads from @throws Error with what it printed when it does not start */
export async function startBoxo(program: string, remoteUrl: string): Promise<BoxoGateway> {
  const child = spawn(program, [remoteUrl], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  const first = once(createInterface({ input: child.stdout }), 'line') as Promise<[string]>
  const url = await Promise.race([first.then(([line]) => line), ended.then(() => undefined)])
  if (url === undefined) throw new Error(`boxo's gateway ended with ${child.exitCode}`)
  return { url, close: () => end(child, ended) }
}

async function end(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  child.kill()
  await ended
}
