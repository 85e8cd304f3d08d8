import pino, { type Logger } from 'pino'
import type { LogLevel } from '../config.ts'

/** JSON lines on stderr: stdout is for what a command answers. */
export function createLog(level: LogLevel): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ fd: 2, sync: true }))
}
