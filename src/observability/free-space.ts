import { statfs } from 'node:fs/promises'

/** A fast disk takes some 100 MB in this time: less than the reserve. */
const intervalMs = 200

/** The free bytes of a folder's disk, looked at a few times a second, so that asking costs nothing. */
export class FreeSpace {
  readonly #folder: string
  readonly #timer: NodeJS.Timeout
  #bytes = 0

  private constructor(folder: string) {
    this.#folder = folder
    this.#timer = setInterval(() => {
      // A look that fails leaves the last answer; the write itself will meet what is wrong with the disk.
      this.#look().catch(() => undefined)
    }, intervalMs)
    this.#timer.unref()
  }

  static async watch(folder: string): Promise<FreeSpace> {
    const space = new FreeSpace(folder)
    await space.#look()
    return space
  }

  get bytes(): number {
    return this.#bytes
  }

  close(): void {
    clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    const { bavail, bsize } = await statfs(this.#folder)
    this.#bytes = bavail * bsize
  }
}
