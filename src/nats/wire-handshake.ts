import type { WireOptions } from './wire-connection.ts'

/** What we read of the server's INFO. */
export interface ServerInfo {
  readonly max_payload: number
  readonly nonce: string | undefined
  readonly tls_available: boolean
}

interface Deferred<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (error: Error) => void
}

/** INFO → (TLS) → CONNECT, SUB, PING → PONG or -ERR. */
export class WireHandshake {
  readonly #options: WireOptions
  readonly #server: URL
  readonly #info = deferred<ServerInfo>()
  readonly #accepted = deferred<void>()

  constructor(options: WireOptions, server: URL) {
    this.#options = options
    this.#server = server
  }

  get info(): Promise<ServerInfo> {
    return this.#info.promise
  }

  get accepted(): Promise<void> {
    return this.#accepted.promise
  }

  onLine(line: string): void {
    if (line.startsWith('INFO ')) this.#info.resolve(parseInfo(line.slice('INFO '.length)))
    else if (line === 'PONG') this.#accepted.resolve()
    else if (line.startsWith('-ERR')) this.#refuse(new Error(line.slice('-ERR '.length)))
  }

  /**
   * Whenever the server can, as nats.js does it for the other connection.
   * @throws Error when it was asked for and the server cannot: credentials are not for an open wire
   */
  wantsTls(info: ServerInfo): boolean {
    const asked = this.#server.protocol === 'tls:' || this.#options.tls !== undefined
    if (asked && !info.tls_available) throw new Error('the server does not support TLS')
    return info.tls_available
  }

  /** A server that is full says so before anything else. */
  #refuse(error: Error): void {
    this.#info.reject(error)
    this.#accepted.reject(error)
  }

  connectLines(info: ServerInfo, inbox: string): string {
    const connect = {
      verbose: false,
      pedantic: false,
      protocol: 1,
      headers: true,
      no_responders: true,
      lang: 'stowage',
      version: '1',
      name: this.#options.name,
      tls_required: this.wantsTls(info),
      ...this.#options.authenticate(info.nonce),
    }
    return `CONNECT ${JSON.stringify(connect)}\r\nSUB ${inbox}.* 1\r\nPING\r\n`
  }
}

function parseInfo(json: string): ServerInfo {
  const info = JSON.parse(json) as Record<string, unknown>
  return {
    max_payload: typeof info.max_payload === 'number' ? info.max_payload : 1_048_576,
    nonce: typeof info.nonce === 'string' ? info.nonce : undefined,
    tls_available: info.tls_available === true || info.tls_required === true,
  }
}

function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => undefined
  let reject: (error: Error) => void = () => undefined
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  promise.catch(() => undefined)
  return { promise, resolve, reject }
}
