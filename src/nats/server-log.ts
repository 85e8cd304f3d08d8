import { open, stat } from 'node:fs/promises'

const readBytesMax = 64 * 1024

/** Reads what a log file gains. The writer may start the file anew when it is full. */
export class GrowingLog {
  readonly #file: string
  #at = 0

  constructor(file: string) {
    this.#file = file
  }

  /** From here on: what the file holds now is of no interest. */
  async skip(): Promise<void> {
    this.#at = await this.#size()
  }

  /** What was written since the last call; of much, only the end. */
  async read(): Promise<string> {
    const size = await this.#size()
    if (size < this.#at) this.#at = 0
    const from = Math.max(this.#at, size - readBytesMax)
    this.#at = size
    return size === from ? '' : readPart(this.#file, from, size - from)
  }

  async #size(): Promise<number> {
    const found = await stat(this.#file).catch(() => undefined)
    return found?.size ?? 0
  }
}

async function readPart(path: string, from: number, bytes: number): Promise<string> {
  const file = await open(path, 'r')
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, from)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}

/** The last lines, without the server's `[pid] date time`, on one line. */
export function lastLines(text: string, linesMax = 5): string {
  const lines = text.split('\n').map((line) => line.replace(/^\[\d+\] \S+ \S+ /, '').trim())
  return lines
    .filter((line) => line !== '')
    .slice(-linesMax)
    .join(' | ')
    .slice(0, 1_000)
}
