#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { exitCodes } from './cli/exit-codes.ts'
import { runCli } from './cli/main.ts'
import { readConfig, type SettingFlags } from './config.ts'
import { AppError } from './errors.ts'
import { onAbort } from './lib/on-abort.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
const stop = new AbortController()
// A second signal ends the process at once, as people expect of Ctrl-C Ctrl-C.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => stop.abort(new Error(signal)))
}
// The terminal is closed: the shell and the kernel say so one after the other, and what is open must still be cleaned up.
process.on('SIGHUP', () => stop.abort(new Error('SIGHUP')))
// A terminal that is gone takes no messages: no reason to end with a stack, and with files half written.
process.stderr.on('error', () => undefined)
// `stowage ls … | head` closes the pipe early: not an error worth a stack.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // Of a terminal that is gone, SIGHUP tells as well: then there is something to clean up.
  if (error.code !== 'EIO') process.exit(error.code === 'EPIPE' ? 0 : 1)
})

process.exitCode = await runCli(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  get cwd() {
    return workingFolder()
  },
  signal: stop.signal,
  version,
  serve,
  findNatsServer: async (binary) => {
    const { resolveServerBinary } = await import('./nats/server-binary.ts')
    // Looked for, not fetched: a look at a machine must not change it.
    return resolveServerBinary({ binary, env: process.env, sources: [] })
  },
  natsPermissions: async (place) => {
    const { accountsBlock, natsAccounts } = await import('./nats/permissions.ts')
    return accountsBlock(natsAccounts(place))
  },
})
// Sockets kept alive for a next request must not hold a finished command, nor a write that waits for NATS a node that is closed.
process.exit()

/** @throws AppError FILE_UNUSABLE when somebody has removed it */
function workingFolder(): string {
  try {
    return process.cwd()
  } catch (cause) {
    throw new AppError('FILE_UNUSABLE', 'the current folder does not exist any more', {
      cause,
      hint: 'go to another one with cd',
    })
  }
}

/** Runs a node until SIGINT, SIGTERM or SIGHUP. The parts of a node are loaded here, so that `stowage cat` starts fast. */
async function serve(flags: SettingFlags): Promise<number> {
  const config = readConfig(process.env, flags)
  workingFolder()
  const [{ startNode }, { createLog }, { writeNodeAddress, removeNodeAddress }] = await Promise.all([
    import('./node.ts'),
    import('./observability/log.ts'),
    import('./client/node-address.ts'),
  ])
  const log = createLog(config.log)
  for (const text of config.strayVariables.unknown) log.warn(text)
  for (const text of config.strayVariables.links) log.info(text)
  process.on('uncaughtException', (error: NodeJS.ErrnoException) => {
    if (isStrayWrite(error)) {
      log.warn({ code: error.code }, 'nats.js wrote to a connection that had just ended')
      return
    }
    log.fatal({ err: error }, 'unexpected: the node ends')
    process.exit(1)
  })
  if (config.watchdogMs > 0) {
    const { watchEventLoop } = await import('./observability/watchdog.ts')
    const onTrouble = (err: unknown) => log.warn({ err }, 'nobody watches whether the event loop is blocked')
    watchEventLoop({ blockedMsMax: config.watchdogMs, exitCode: exitCodes.blocked, level: config.log, onTrouble })
  }
  const node = await startNode(config, { log, version, env: process.env, signal: stop.signal, ...crashing() })
  const { apiUrl, gatewayUrl, dataDir } = node
  const address = { apiUrl, gatewayUrl, dataDir, pid: process.pid }
  await writeNodeAddress(address, process.env)
  process.stdout.write(greeting(node))
  if (node.durability === 'os-cache') {
    log.warn(
      'durability: os-cache. nats-server does not sync before it acks; set sync_interval: always in its jetstream block',
    )
  }
  await new Promise<void>((resolve) => {
    onAbort(stop.signal, resolve)
  })
  const leave = (exitCode: number) => {
    node.abandon()
    process.exit(exitCode)
  }
  process.once('SIGINT', () => leave(130))
  process.once('SIGTERM', () => leave(143))
  log.info({ reason: String(stop.signal.reason) }, 'stopping')
  await node.close()
  await removeNodeAddress(address, process.env)
  return 0
}

/**
 * nats.js 3.4.0 takes the listeners off a socket that has ended and may write to it once more in the same turn. The request is
 * answered by its time limit; the connection comes back. It is nobody's reason to end.
 */
function isStrayWrite(error: NodeJS.ErrnoException): boolean {
  const stray = ['ERR_STREAM_WRITE_AFTER_END', 'ERR_STREAM_DESTROYED', 'EPIPE', 'ECONNRESET']
  return stray.includes(error.code ?? '') && (error.stack ?? '').includes('transport-node')
}

/** Tests end the process at a step of a command (src/lib/crash-point.ts). Not a setting: nobody else wants it. */
function crashing(): { readonly reach?: (point: string) => void } {
  const { NODE_ENV, CRASH_AT } = process.env
  if (NODE_ENV !== 'test' || CRASH_AT === undefined) return {}
  return { reach: (point) => void (point === CRASH_AT && process.kill(process.pid, 'SIGKILL')) }
}

function greeting(node: Awaited<ReturnType<typeof import('./node.ts')['startNode']>>): string {
  const token = {
    made: () =>
      `  admin token ${'token' in node.adminToken ? node.adminToken.token : ''}\n              (shown once; kept in ${node.dataDir}/admin.token)`,
    kept: () => `  admin token in ${node.dataDir}/admin.token`,
    set: () => '  admin token from STOWAGE_TOKEN',
    renewed: () =>
      `  admin token in ${node.dataDir}/admin.token, a new one: the file was empty, and the token before is valid no more`,
    damaged: () =>
      `  admin token is not in ${node.dataDir}/admin.token, whose content is damaged; set STOWAGE_TOKEN to that token, or to a new one`,
    elsewhere: () =>
      '  admin token is not in this folder: another node made it; set STOWAGE_TOKEN to that one, or to a new one',
  }[node.adminToken.kind]()
  return `stowage ${version} is ready\n  gateway     ${node.gatewayUrl}/ipfs/<cid>\n  API         ${node.apiUrl}\n  NATS        ${node.natsUrl}\n  data        ${node.dataDir}\n${token}\n`
}
