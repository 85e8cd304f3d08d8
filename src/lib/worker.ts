import { readlinkSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { AppError, type ErrorCode, isAppError } from '../errors.ts'
import { onAbort } from './on-abort.ts'

/** What a call may have beside its answer. */
export interface CallOptions<Part> {
  readonly signal: AbortSignal
  /** Parts of the answer, in their order; the next one comes once this resolves. */
  readonly onPart: (part: Part) => Promise<void> | void
}

export interface WorkOptions<Part> {
  readonly signal: AbortSignal
  /** Resolves once whoever called has taken it. */
  readonly emit: (part: Part) => Promise<void>
}

type ToThread = { readonly id: number } & (
  | { readonly kind: 'call'; readonly call: unknown }
  | { readonly kind: 'taken'; readonly part: number }
  | { readonly kind: 'abort' }
)

type FromThread = { readonly id: number } & (
  | { readonly kind: 'part'; readonly number: number; readonly part: unknown }
  | { readonly kind: 'done'; readonly result: unknown }
  | { readonly kind: 'failed'; readonly error: PlainError }
)

/** A thread without work ends, and gives its memory back. */
const idleMsDefault = 60_000
/** Of nice(2): below all that answers requests. */
const backgroundPriority = 10

interface Pending {
  readonly options: CallOptions<unknown>
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
  /** The parts that are being taken. */
  readonly taking: Set<Promise<void>>
  /** Why one could not be taken: the work is told to end. */
  refusal?: unknown
}

/**
 * Work in a thread of its own, so that what reads and hashes much keeps nobody waiting here. The thread is started by the first
 * call and ends when there has been nothing to do for a while. What is given and answered is copied (structured clone);
 * an AppError arrives as one.
 */
export class WorkerThread<Call, Part, Result> {
  readonly #entry: URL
  readonly #data: unknown
  readonly #idleMs: number
  readonly #pending = new Map<number, Pending>()
  #worker: Worker | undefined
  #next = 0
  #idle: NodeJS.Timeout | undefined
  #ending: Promise<unknown> | undefined
  #closed = false

  /** @param entry a module that calls `serveCalls` @param data for it, as `workerData` */
  constructor(entry: URL, data: unknown, idleMs = idleMsDefault) {
    this.#entry = entry
    this.#data = data
    this.#idleMs = idleMs
  }

  get isRunning(): boolean {
    return this.#worker !== undefined
  }

  /**
   * Settles when the work has ended, and with it the taking of its parts.
   * @throws what the work throws; the signal's reason; AppError STORE_UNAVAILABLE when the thread ends
   */
  async run(call: Call, options: CallOptions<Part>): Promise<Result> {
    const { signal } = options
    signal.throwIfAborted()
    if (this.#closed) throw ended()
    clearTimeout(this.#idle)
    this.#worker ??= this.#start()
    const worker = this.#worker
    const id = this.#next++
    const taking = new Set<Promise<void>>()
    const release = onAbort(signal, () => worker.postMessage({ id, kind: 'abort' } satisfies ToThread))
    try {
      return (await new Promise<unknown>((resolve, reject) => {
        this.#pending.set(id, { options: options as CallOptions<unknown>, resolve, reject, taking })
        worker.postMessage({ id, kind: 'call', call } satisfies ToThread)
      })) as Result
    } catch (error) {
      signal.throwIfAborted()
      throw error
    } finally {
      release()
      this.#pending.delete(id)
      await Promise.all(taking)
      if (this.#pending.size === 0) this.#rest()
    }
  }

  /** What is under way fails. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#idle)
    this.#end()
    await this.#ending
  }

  #start(): Worker {
    const worker = this.#entry.pathname.endsWith('.ts')
      ? new Worker(sourceLoader(this.#entry), { workerData: this.#data, eval: true })
      : new Worker(this.#entry, { workerData: this.#data })
    worker.on('message', (message: FromThread) => this.#answered(worker, message))
    worker.on('error', (error) => this.#lost(worker, error))
    worker.on('messageerror', (error) => this.#lost(worker, error))
    worker.on('exit', () => this.#lost(worker))
    return worker
  }

  #answered(worker: Worker, message: FromThread): void {
    const pending = this.#pending.get(message.id)
    if (pending === undefined) return
    if (message.kind !== 'part' && 'refusal' in pending) pending.reject(pending.refusal)
    else if (message.kind === 'done') pending.resolve(message.result)
    else if (message.kind === 'failed') pending.reject(revived(message.error))
    else {
      const taking = this.#take(worker, message, pending).finally(() => pending.taking.delete(taking))
      pending.taking.add(taking)
    }
  }

  async #take(worker: Worker, { id, number, part }: FromThread & { readonly kind: 'part' }, pending: Pending) {
    try {
      await pending.options.onPart(part)
      worker.postMessage({ id, kind: 'taken', part: number } satisfies ToThread)
    } catch (error) {
      pending.refusal = error
      worker.postMessage({ id, kind: 'abort' } satisfies ToThread)
    }
  }

  #lost(worker: Worker, cause?: unknown): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    for (const { reject } of this.#pending.values()) reject(ended(cause))
  }

  #rest(): void {
    clearTimeout(this.#idle)
    if (this.#closed) return
    this.#idle = setTimeout(() => this.#end(), this.#idleMs)
    this.#idle.unref()
  }

  #end(): void {
    const worker = this.#worker
    if (worker === undefined) return
    this.#lost(worker)
    this.#ending = worker.terminate()
  }
}

/** Tests and benches run the sources, which Node 20 cannot load by itself. */
const sourceLoader = (entry: URL): string =>
  `import('tsx/esm/api').then(({ register }) => (register(), import(${JSON.stringify(entry.href)})))`

function ended(cause?: unknown): AppError {
  const why = cause instanceof Error ? `: ${cause.message}` : ''
  return new AppError('STORE_UNAVAILABLE', `the background thread has ended${why}`, { cause })
}

/** In the thread: answers calls, any number at a time. */
export function serveCalls<Call, Part, Result>(
  work: (call: Call, options: WorkOptions<Part>) => Promise<Result>,
): void {
  const port = parentPort
  if (isMainThread || port === null) throw new Error('not in a thread of its own')
  const calls = new Map<number, CallUnderWay>()
  const answer = async (id: number, call: Call): Promise<void> => {
    const underWay = { abort: new AbortController(), takes: new Map<number, () => void>() }
    const { signal } = underWay.abort
    calls.set(id, underWay)
    let parts = 0
    const emit = async (part: Part) => {
      signal.throwIfAborted()
      const number = parts++
      const taken = new Promise<void>((resolve) => underWay.takes.set(number, resolve))
      port.postMessage({ id, kind: 'part', number, part } satisfies FromThread)
      await taken
    }
    try {
      const result = await work(call, { signal, emit })
      port.postMessage({ id, kind: 'done', result } satisfies FromThread)
    } catch (error) {
      port.postMessage({ id, kind: 'failed', error: plain(error) } satisfies FromThread)
    } finally {
      calls.delete(id)
    }
  }
  port.on('message', (message: ToThread) => {
    const underWay = calls.get(message.id)
    if (message.kind === 'call') void answer(message.id, message.call as Call)
    else if (message.kind === 'taken') {
      underWay?.takes.get(message.part)?.()
      underWay?.takes.delete(message.part)
    } else {
      underWay?.abort.abort(new Error('not wanted any more'))
      for (const take of underWay?.takes.values() ?? []) take()
    }
  })
}

interface CallUnderWay {
  readonly abort: AbortController
  /** What resolves when a part was taken, by its number. */
  readonly takes: Map<number, () => void>
}

/** Has this thread, and no other of the process, give way to whatever else wants to run; where the system can do that. */
export function yieldToOthers(): void {
  try {
    // <pid>/task/<tid>. Linux has a priority for each thread, under its id.
    const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
    // To raise it again would need a right that few have.
    setPriority(thread, Math.max(getPriority(), backgroundPriority))
  } catch {
    // Another system: it runs as it is.
  }
}

/** An error that can be copied. */
interface PlainError {
  readonly code: ErrorCode | undefined
  readonly message: string
  readonly hint: string | undefined
  readonly limit: AppError['limit']
  readonly block: string | undefined
  readonly stack: string | undefined
  readonly cause: PlainError | undefined
}

function plain(error: unknown): PlainError {
  const known = isAppError(error) ? error : undefined
  const { message, stack, cause } = error instanceof Error ? error : new Error(String(error))
  return {
    ...{ code: known?.code, message, hint: known?.hint, limit: known?.limit, block: known?.block, stack },
    cause: cause === undefined ? undefined : plain(cause),
  }
}

function revived({ code, message, hint, limit, block, stack, cause }: PlainError): Error {
  const options = {
    ...(hint === undefined ? {} : { hint }),
    ...(limit === undefined ? {} : { limit }),
    ...(block === undefined ? {} : { block }),
    ...(cause === undefined ? {} : { cause: revived(cause) }),
  }
  const error = code === undefined ? new Error(message, options) : new AppError(code, message, options)
  if (stack !== undefined) error.stack = stack
  return error
}
