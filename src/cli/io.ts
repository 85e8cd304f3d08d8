import type { LayoutConfig, SettingFlags } from '../config.ts'
import type { ProgressStream } from './progress.ts'

export interface FoundServer {
  readonly path: string
  readonly version: string
  readonly foundBy: string
}

/** What a command may touch of its process; tests give their own. */
export interface Io {
  readonly stdin: NodeJS.ReadableStream
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean }
  readonly stderr: ProgressStream
  readonly env: Readonly<Record<string, string | undefined>>
  /** @throws AppError FILE_UNUSABLE when it has been removed */
  readonly cwd: string
  /** Aborts at SIGINT, SIGTERM or SIGHUP. */
  readonly signal: AbortSignal
  readonly version: string
  /** Runs a node until it is told to stop; @returns the exit code. */
  readonly serve: (flags: SettingFlags) => Promise<number>
  /**
   * The nats-server that `serve` would embed, looked for on this machine only; `binary` is STOWAGE_NATS_SERVER.
   * @throws AppError SERVER_NOT_FOUND | SERVER_TOO_OLD
   */
  readonly findNatsServer: (binary: string | undefined) => Promise<FoundServer>
  /** Accounts and users for the configuration file of a nats-server. */
  readonly natsPermissions: (place: Pick<LayoutConfig, 'domain' | 'space'>) => Promise<string>
}
