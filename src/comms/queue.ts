import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { DeadLetterLog } from '../content/dead-letter.ts'
import type { Context } from '../content/verbs.ts'
import { AppError, type ErrorCode, isAppError, statusOf } from '../errors.ts'
import type { QueuedMessage, WorkQueue } from '../nats/work-queue.ts'
import type { CommandHandler } from './commands.ts'
import { type ContextParts, contextOf } from './context.ts'
import { deadLetter } from './dead-letter.ts'
import { type Command, commands, header, type Subjects } from './protocol.ts'
import { failureOf } from './reply.ts'
import { type Request, readRequest } from './request.ts'

export interface QueueParts extends ContextParts {
  readonly queue: WorkQueue
  readonly handlers: Readonly<Record<Command, CommandHandler>>
  readonly deadLetters: DeadLetterLog
  readonly subjects: Subjects
  readonly payloadBytesMax: number
  readonly log: Pick<Logger, 'warn' | 'error'>
}

export interface QueueConfig {
  readonly workers: number
  readonly deliveriesMax: number
  readonly ackWaitMs: number
  /** Before the second, third … try; the last one counts for all that follow. */
  readonly pausesMs: readonly number[]
}

export interface RunningQueue {
  /** Takes no more messages; those under way may end until the signal given at the start aborts. */
  stop(): Promise<void>
}

export const pausesMsDefault: readonly number[] = [1_000, 5_000, 15_000, 60_000]
const afterOutageMs = 1_000

/**
 * Carries out stored commands, at least once each; the verbs make that once, by the message's id. What cannot succeed, or has
 * failed as often as allowed, becomes a dead letter, so that one bad message never stops those behind it.
 */
export function startQueue(parts: QueueParts, config: QueueConfig, signal: AbortSignal): RunningQueue {
  const stopping = new AbortController()
  const work = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        const message = await parts.queue.next()
        if (message !== undefined) await carryOut(message, parts, config, signal)
      } catch (error) {
        if (stopping.signal.aborted) return
        parts.log.warn({ err: error }, 'the queue of commands cannot be read')
        await delay(afterOutageMs, undefined, { signal: stopping.signal }).catch(() => undefined)
      }
    }
  }
  const workers = Array.from({ length: config.workers }, work)
  return {
    stop: async () => {
      stopping.abort()
      parts.queue.stop()
      await Promise.all(workers)
    },
  }
}

async function carryOut(
  message: QueuedMessage,
  parts: QueueParts,
  config: QueueConfig,
  signal: AbortSignal,
): Promise<void> {
  const beat = setInterval(() => message.working(), config.ackWaitMs / 3)
  try {
    // One that ends the process each time never comes to its error.
    if (message.deliveries > config.deliveriesMax) {
      throw new AppError('INTERNAL', `given up after ${config.deliveriesMax} deliveries without an outcome`)
    }
    await execute(message, parts, signal)
    message.ack()
  } catch (error) {
    if (signal.aborted) message.retryAfter(0)
    else await afterFailure(error, message, parts, config)
  } finally {
    clearInterval(beat)
  }
}

async function execute(message: QueuedMessage, parts: QueueParts, signal: AbortSignal): Promise<void> {
  const command = commandIn(message.subject, parts.subjects)
  if (command === undefined) throw new AppError('REQUEST_INVALID', `no command is called ${message.subject}`)
  const request = readRequest(message, command, 'command')
  if (request.headers.has(header.upload.toLowerCase())) {
    throw new AppError('REQUEST_INVALID', 'a stored command cannot begin an upload', {
      hint: 'put the content first and name it by its cid',
    })
  }
  const context = await contextOf(request, 'command', parts, () => idOf(message))
  await parts.handlers[command]({
    request,
    context: { ...context, causation: context.id },
    content: once(request.body),
    signal,
  })
}

function commandIn(subject: string, { domain, space }: Subjects): Command | undefined {
  const verb = subject.slice(`${domain}.queue.${space}.`.length)
  return commands.find((command) => command === verb)
}

/** The same at every delivery, and at no other message: UUIDv8 of where it lies and since when. */
export function idOf({ stream, sequence, time }: QueuedMessage): string {
  const hex = createHash('sha256').update(`${stream} ${sequence} ${time.toISOString()}`).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.byteLength > 0) yield Uint8Array.from(bytes)
}

/** What is not there may come yet; what is wrong stays wrong. */
const passing: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['BLOCK_NOT_FOUND', 'PATH_NOT_FOUND', 'NAME_NOT_FOUND'])

export function isPermanent(error: unknown): boolean {
  return isAppError(error) && statusOf[error.code] < 500 && statusOf[error.code] !== 408 && !passing.has(error.code)
}

async function afterFailure(
  error: unknown,
  message: QueuedMessage,
  parts: QueueParts,
  { deliveriesMax, pausesMs }: QueueConfig,
): Promise<void> {
  const pauseMs = pausesMs[Math.min(message.deliveries, pausesMs.length) - 1] ?? 0
  if (!isAppError(error)) parts.log.error({ err: error, sequence: message.sequence }, 'a queued command failed')
  if (!isPermanent(error) && message.deliveries < deliveriesMax) {
    message.retryAfter(pauseMs)
    return
  }
  try {
    await bury(error, message, parts)
    message.ack()
  } catch (failure) {
    parts.log.error({ err: failure, sequence: message.sequence }, 'a dead letter could not be stored')
    message.retryAfter(pauseMs)
  }
}

/**
 * Of a message that nobody could carry out: what it says in its headers where its body cannot be read, and nothing when it
 * was not for its sender to say.
 */
async function originOf(
  message: QueuedMessage,
  command: Command | undefined,
  parts: QueueParts,
): Promise<Context | undefined> {
  const plain: Request = {
    verb: command ?? 'put',
    headers: message.headers ?? new Map(),
    fields: {},
    body: new Uint8Array(),
    envelope: undefined,
  }
  const read = () => readRequest(message, command ?? 'put', 'command')
  for (const request of [read, () => plain]) {
    try {
      return await contextOf(request(), 'command', parts, () => idOf(message))
    } catch (error) {
      if (!isAppError(error)) throw error
    }
  }
  return undefined
}

async function bury(error: unknown, message: QueuedMessage, parts: QueueParts): Promise<void> {
  const { queue, deadLetters, subjects, payloadBytesMax } = parts
  const command = commandIn(message.subject, subjects) ?? 'unknown'
  const id = idOf(message)
  const origin = await originOf(message, commandIn(message.subject, subjects), parts)
  const letter = deadLetter(error, message, { command, subjects, payloadBytesMax })
  const deadSequence = await queue.bury(id, letter.subject, letter.data, letter.headers)
  await deadLetters.record({
    id,
    origin,
    messageId: origin?.id ?? message.headers?.get(header.id.toLowerCase()) ?? message.headers?.get('nats-msg-id') ?? id,
    command,
    subject: message.subject,
    deliveries: message.deliveries,
    queueSequence: message.sequence,
    deadSequence,
    ...failureOf(error),
  })
}
