import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/**
 * When the process started, as text to compare and nothing else; undefined = no such process (or only its zombie).
 * A pid alone does not name a process: it is used again.
 */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (stat === undefined) return (await hasProc()) ? undefined : startTimeByPs(pid)
  // proc(5): the command's name, in brackets, may hold anything; after it come the state and, 19 fields on, the start in ticks.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
}

/** The command and its arguments; empty when there is no such process. */
export async function commandLineOf(pid: number): Promise<string> {
  const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined)
  if (line !== undefined) return line.replaceAll('\0', ' ').trim()
  return (await hasProc()) ? '' : ps(pid, 'args=')
}

const hasProc = async () => (await readFile('/proc/self/stat').catch(() => undefined)) !== undefined

async function startTimeByPs(pid: number): Promise<string | undefined> {
  const [state, ...started] = (await ps(pid, 'stat=,lstart=')).split(/\s+/)
  return state === undefined || state === '' || state.startsWith('Z') ? undefined : started.join(' ')
}

/** `ps` ends with 1 when there is no such process. The same language and zone each time, so that times compare. */
async function ps(pid: number, columns: string): Promise<string> {
  const args = ['LC_ALL=C', 'TZ=UTC', 'ps', '-ww', '-o', columns, '-p', String(pid)]
  const { stdout } = await run('env', args).catch((error: Error & { code?: unknown }) => {
    if (error.code === 1) return { stdout: '' }
    throw error
  })
  return stdout.trim()
}
