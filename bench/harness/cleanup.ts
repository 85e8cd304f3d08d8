import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

type Close = () => unknown

const closers: Close[] = []
const folders: string[] = []
const pids = new Set<number>()

/** Runs when the bench ends, by itself or by a signal; the latest first. */
export function atEnd(close: Close): void {
  closers.push(close)
}

/** A process that must not outlive the bench, whatever happens. */
export function ownProcess(pid: number | undefined): void {
  if (pid !== undefined) pids.add(pid)
}

export function processGone(pid: number | undefined): void {
  if (pid !== undefined) pids.delete(pid)
}

export async function temporaryFolder(name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `stowage-bench-${name}-`))
  folders.push(folder)
  return folder
}

export async function closeAll(): Promise<void> {
  for (let close = closers.pop(); close !== undefined; close = closers.pop()) await close()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}

/** Ctrl-C ends what was started and removes what was written; a second one ends at once. */
export function closeOnSignals(): void {
  for (const [signal, exitCode] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => {
      closeAll()
        .catch((error: unknown) => console.error(error))
        .finally(() => process.exit(exitCode))
    })
  }
  process.once('exit', () => {
    for (const pid of pids) {
      try {
        // SIGTERM, so that a node takes its nats-server with it.
        process.kill(pid, 'SIGTERM')
      } catch {
        // Gone already.
      }
    }
    for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  })
}
