import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { kill } from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { AppError } from '../errors.ts'
import { writeDurably, writeDurablySync } from '../lib/durable-file.ts'
import { commandLineOf, startTimeOf } from '../lib/process-identity.ts'

const stopMsMax = 20_000
const killMsMax = 5_000
const recordMode = 0o600

interface RecordedServer {
  readonly pid: number
  readonly started?: string | undefined
}

const recordFile = (dataDir: string): string => join(dataDir, 'nats-server.pid')

/**
 * Notes which server runs on the folder. The pid is written before anything else can happen: a node that is killed the
 * moment after it started a server must still be able to find it.
 */
export function recordServer(dataDir: string, pid: number): Promise<void> {
  const textOf = (record: RecordedServer) => `${JSON.stringify(record)}\n`
  writeDurablySync(recordFile(dataDir), textOf({ pid }), recordMode)
  return startTimeOf(pid).then(async (started) => {
    await writeDurably(recordFile(dataDir), textOf({ pid, started }), { mode: recordMode })
  })
}

export const forgetServer = (dataDir: string): Promise<void> => rm(recordFile(dataDir), { force: true })

/**
 * Stops the server that an earlier node left behind when it was killed: it holds the port and the store. It is ours only
 * if the process runs with our configuration file and started when we noted; whatever else has its pid now stays alone.
 * @returns its pid; undefined when there was none
 * @throws AppError SERVER_FAILED when it does not end
 */
export async function stopOrphan(dataDir: string, configFile: string): Promise<number | undefined> {
  const record = await readRecord(dataDir)
  if (record === undefined || !(await isOurs(record, configFile))) return undefined
  kill(record.pid, 'SIGTERM')
  if (!(await hasEnded(record, stopMsMax))) {
    kill(record.pid, 'SIGKILL')
    if (!(await hasEnded(record, killMsMax))) {
      const message = `the nats-server that an earlier node left (process ${record.pid}) does not end`
      throw new AppError('SERVER_FAILED', message, { hint: `end process ${record.pid}` })
    }
  }
  return record.pid
}

async function readRecord(dataDir: string): Promise<RecordedServer | undefined> {
  const text = await readFile(recordFile(dataDir), 'utf8').catch(() => '')
  try {
    const record = JSON.parse(text) as RecordedServer
    return Number.isSafeInteger(record.pid) && record.pid > 1 ? record : undefined
  } catch {
    return undefined
  }
}

async function isOurs(record: RecordedServer, configFile: string): Promise<boolean> {
  const started = await startTimeOf(record.pid)
  if (started === undefined || (record.started !== undefined && record.started !== started)) return false
  // The whole last argument: the path of another data folder may end with ours.
  return (await commandLineOf(record.pid)).endsWith(` -c ${configFile}`)
}

async function hasEnded(record: RecordedServer, msMax: number): Promise<boolean> {
  const started = await startTimeOf(record.pid)
  const deadline = Date.now() + msMax
  for (;;) {
    const now = await startTimeOf(record.pid)
    if (now === undefined || now !== started) return true
    if (Date.now() > deadline) return false
    await delay(50)
  }
}
