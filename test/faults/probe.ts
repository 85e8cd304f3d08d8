import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, get } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'

/** Times in ms. */
export interface Lag {
  readonly probes: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

const everyMs = 50
/** Generous: whatever takes longer hangs. */
export const hangMs = 20_000

/** Small requests that need no NATS, one after the other: how soon the event loop comes to them. */
export class Probe {
  readonly #urls: readonly string[]
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })
  readonly #times: number[] = []
  /** What was not answered within `hangMs`, or not as it should be. */
  readonly hangs: string[] = []
  #stopped = false
  readonly #running: Promise<void>

  constructor(...urls: readonly string[]) {
    this.#urls = urls
    this.#running = this.#run()
  }

  async stop(): Promise<Lag> {
    this.#stopped = true
    await this.#running
    this.#agent.destroy()
    const sorted = this.#times.sort((a, b) => a - b)
    const at = (share: number) =>
      Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0)
    return { probes: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) }
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      for (const url of this.#urls) {
        const startMs = performance.now()
        const failure = await this.#ask(url)
        this.#times.push(performance.now() - startMs)
        if (failure !== undefined) this.hangs.push(`${url}: ${failure}`)
      }
      await delay(everyMs)
    }
  }

  #ask(url: string): Promise<string | undefined> {
    return new Promise((resolve) => {
      const request = get(url, { agent: this.#agent, timeout: hangMs }, (response) => {
        response.resume()
        response.once('close', () => resolve(response.statusCode === 200 ? undefined : `status ${response.statusCode}`))
      })
      request.once('timeout', () => request.destroy(new Error(`no answer within ${hangMs} ms`)))
      request.once('error', (error) => resolve(error.message))
    })
  }
}

/** A server that does nothing else: what it is late, the machine is late. */
export async function startBareServer(): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const script =
    "const s=require('node:http').createServer((_,r)=>r.end('ok'));s.listen(0,'127.0.0.1',()=>console.log(s.address().port))"
  const child: ChildProcess = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [port] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer]
  return {
    url: `http://127.0.0.1:${Number(port.toString())}/`,
    stop: async () => {
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
  }
}
