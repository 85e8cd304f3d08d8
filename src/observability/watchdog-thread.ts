import { type Debugger, Session } from 'node:inspector'
import { kill, pid } from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { workerData } from 'node:worker_threads'
import { BlockedTime } from './blocked-time.ts'
import { createLog } from './log.ts'
import type { WatchdogData } from './watchdog.ts'

/** The other thread of `watchEventLoop`. */
const { beats, beatMs, blockedMsMax, exitCode, level } = workerData as WatchdogData
const count = new Int32Array(beats)
const log = createLog(level)

const message = 'the event loop is blocked and nobody is answered: the node ends, to be started again'

/** Looks at a loop that goes round: each shows one place of it. */
const looks = 10
const betweenLooksMs = 20
const framesLogged = 30
/** How long the main thread is given to be interrupted: some code cannot be. */
const pauseMsMax = 5_000

type Frame = Debugger.CallFrame

interface Pause {
  readonly top: Frame | undefined
  /** As in the stack of an error, without its first line. */
  readonly stack: string
}

async function watch(): Promise<never> {
  let blocked = new BlockedTime(beatMs, Atomics.load(count, 0), performance.now())
  for (;;) {
    await delay(beatMs)
    const now = Atomics.load(count, 0)
    if (blocked.look(now, performance.now()) < blockedMsMax) continue
    try {
      await end(now)
    } catch (err) {
      // Where it is cannot be told; that it is blocked can.
      log.fatal({ err, exitCode }, message)
      kill(pid, 'SIGKILL')
    }
    blocked = new BlockedTime(beatMs, Atomics.load(count, 0), performance.now())
  }
}

/** Ends the process; returns only when the main thread has gone on meanwhile. */
async function end(seen: number): Promise<void> {
  const main = new MainThread()
  const stacks = new Set<string>()
  let pause = await main.pause()
  for (let look = 1; pause !== undefined && Atomics.load(count, 0) === seen; look++) {
    stacks.add(pause.stack)
    if (look === looks) break
    main.resume()
    await delay(betweenLooksMs)
    pause = await main.pause()
  }
  if (Atomics.load(count, 0) !== seen) return main.release()
  log.fatal({ blockedSeconds: blockedMsMax / 1000, stacks: [...stacks], exitCode }, message)
  if (pause?.top !== undefined) main.run(pause.top, `globalThis.process.reallyExit(${exitCode})`)
  // A process that ends waits for its debuggers to go.
  await delay(pauseMsMax / 5)
  main.release()
  // It did not end: no code of its own can be run.
  await delay(pauseMsMax)
  kill(pid, 'SIGKILL')
}

/** The main thread, in the hands of a debugger. */
class MainThread {
  readonly #session = new Session()
  readonly #scripts = new Map<string, string>()
  #onPaused: (frames: readonly Frame[]) => void = () => undefined

  constructor() {
    this.#session.connectToMainThread()
    this.#session.on('Debugger.scriptParsed', ({ params }) => this.#scripts.set(params.scriptId, params.url))
    this.#session.on('Debugger.paused', ({ params }) => this.#onPaused(params.callFrames))
    this.#session.post('Debugger.enable')
  }

  /** Where it is; it stands still then. Undefined: it is in code that cannot be interrupted. */
  pause(): Promise<Pause | undefined> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), pauseMsMax)
      this.#onPaused = (frames) => {
        clearTimeout(timer)
        resolve({ top: frames[0], stack: this.#stackOf(frames.slice(0, framesLogged)) })
      }
      this.#session.post('Debugger.pause')
    })
  }

  resume(): void {
    this.#session.post('Debugger.resume')
  }

  run({ callFrameId }: Frame, expression: string): void {
    this.#session.post('Debugger.evaluateOnCallFrame', { callFrameId, expression })
  }

  /** It goes on, as if nobody had looked. */
  release(): void {
    this.#session.disconnect()
  }

  #stackOf(frames: readonly Frame[]): string {
    const lines = frames.map(({ functionName, location: { scriptId, lineNumber, columnNumber = 0 } }) => {
      const place = `${this.#scripts.get(scriptId) ?? ''}:${lineNumber + 1}:${columnNumber + 1}`
      return `at ${functionName === '' ? '<anonymous>' : functionName} (${place})`
    })
    return lines.join('\n')
  }
}

// Last: what it needs is all made by now.
await watch()
