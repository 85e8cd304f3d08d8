import { readlinkSync } from 'node:fs'
import { setPriority } from 'node:os'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { AppError, type ErrorCode, isAppError } from '../errors.ts'

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
  | { readonly kind: 'taken' }
  | { readonly kind: 'abort' }
)

type FromThread = { readonly id: number } & (
  | { readonly kind: 'part'; readonly part: unknown }
  | { readonly kind: 'done'; readonly result: unknown }
  | { readonly kind: 'failed'; readonly error: PlainError }
)

/** A thread without work ends, and gives its memory back. */
const idleMsDefault = 60_000
/** Below all that answers requests. */
const backgroundPriority = 10

interface Pending {
  readonly options: CallOptions<unknown>
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
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

  /** @throws what the work throws; the signal's reason; AppError STORE_UNAVAILABLE when the thread ends */
  async run(call: Call, options: CallOptions<Part>): Promise<Result> {
    const { signal } = options
    signal.throwIfAborted()
    if (this.#closed) throw ended()
    clearTimeout(this.#idle)
    this.#worker ??= this.#start()
    const worker = this.#worker
    const id = this.#next++
    // Its answer comes when the work has ended, and not before.
    const onAbort = () => worker.postMessage({ id, kind: 'abort' } satisfies ToThread)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      return (await new Promise<unknown>((resolve, reject) => {
        this.#pending.set(id, { options: options as CallOptions<unknown>, resolve, reject })
        worker.postMessage({ id, kind: 'call', call } satisfies ToThread)
      })) as Result
    } catch (error) {
      signal.throwIfAborted()
      throw error
    } finally {
      signal.removeEventListener('abort', onAbort)
      this.#pending.delete(id)
      if (this.#pending.size === 0) this.#rest()
    }
  }

  /** What is under way fails. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#idle)
    await this.#end()
  }

  #start(): Worker {
    const worker = this.#entry.pathname.endsWith('.ts')
      ? new Worker(sourceLoader(this.#entry), { workerData: this.#data, eval: true })
      : new Worker(this.#entry, { workerData: this.#data })
    worker.on('message', (message: FromThread) => void this.#answered(worker, message))
    worker.on('error', (error) => this.#lost(worker, error))
    worker.on('exit', () => this.#lost(worker))
    return worker
  }

  async #answered(worker: Worker, message: FromThread): Promise<void> {
    const pending = this.#pending.get(message.id)
    if (pending === undefined) return
    if (message.kind === 'done') pending.resolve(message.result)
    else if (message.kind === 'failed') pending.reject(revived(message.error))
    else {
      try {
        await pending.options.onPart(message.part)
        worker.postMessage({ id: message.id, kind: 'taken' } satisfies ToThread)
      } catch (error) {
        worker.postMessage({ id: message.id, kind: 'abort' } satisfies ToThread)
        pending.reject(error)
      }
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
    this.#idle = setTimeout(() => void this.#end(), this.#idleMs)
    this.#idle.unref()
  }

  async #end(): Promise<void> {
    const worker = this.#worker
    if (worker === undefined) return
    this.#lost(worker)
    await worker.terminate()
  }
}

/** Tests and benches run the sources, which Node 20 cannot load by itself. */
const sourceLoader = (entry: URL): string =>
  `import('tsx/esm/api').then(({ register }) => (register(), import(${JSON.stringify(entry.href)})))`

const ended = (cause?: unknown) =>
  new AppError('STORE_UNAVAILABLE', 'the thread that copies and hashes has ended', {
    cause,
    hint: 'it is started again',
  })

/** In the thread: answers calls, any number at a time. */
export function serveCalls<Call, Part, Result>(
  work: (call: Call, options: WorkOptions<Part>) => Promise<Result>,
): void {
  const port = parentPort
  if (isMainThread || port === null) throw new Error('not in a thread of its own')
  const aborts = new Map<number, AbortController>()
  const takes = new Map<number, () => void>()
  const answer = async (id: number, call: Call): Promise<void> => {
    const abort = new AbortController()
    aborts.set(id, abort)
    const emit = async (part: Part) => {
      abort.signal.throwIfAborted()
      port.postMessage({ id, kind: 'part', part } satisfies FromThread)
      await new Promise<void>((taken) => takes.set(id, taken))
    }
    try {
      const result = await work(call, { signal: abort.signal, emit })
      port.postMessage({ id, kind: 'done', result } satisfies FromThread)
    } catch (error) {
      port.postMessage({ id, kind: 'failed', error: plain(error) } satisfies FromThread)
    } finally {
      aborts.delete(id)
      takes.delete(id)
    }
  }
  port.on('message', (message: ToThread) => {
    const { id, kind } = message
    if (kind === 'call') void answer(id, message.call as Call)
    else {
      if (kind === 'abort') aborts.get(id)?.abort(new Error('not wanted any more'))
      takes.get(id)?.()
    }
  })
}

/** Has this thread, and no other of the process, give way to whatever else wants to run; where the system can do that. */
export function yieldToOthers(): void {
  let thread: string
  try {
    // <pid>/task/<tid>. Linux has a priority for each thread, under its id.
    thread = readlinkSync('/proc/thread-self')
  } catch {
    return
  }
  setPriority(Number(thread.split('/').at(-1)), backgroundPriority)
}

/** An error that can be copied. */
interface PlainError {
  readonly code: ErrorCode | undefined
  readonly message: string
  readonly hint: string | undefined
  readonly limit: AppError['limit']
  readonly stack: string | undefined
  readonly cause: PlainError | undefined
}

function plain(error: unknown): PlainError {
  const known = isAppError(error) ? error : undefined
  const { message, stack, cause } = error instanceof Error ? error : new Error(String(error))
  return {
    ...{ code: known?.code, message, hint: known?.hint, limit: known?.limit, stack },
    cause: cause === undefined ? undefined : plain(cause),
  }
}

function revived({ code, message, hint, limit, stack, cause }: PlainError): Error {
  const options = {
    ...(hint === undefined ? {} : { hint }),
    ...(limit === undefined ? {} : { limit }),
    ...(cause === undefined ? {} : { cause: revived(cause) }),
  }
  const error = code === undefined ? new Error(message, options) : new AppError(code, message, options)
  if (stack !== undefined) error.stack = stack
  return error
}
