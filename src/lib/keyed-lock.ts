/** One at a time for each key, in the order in which they asked. */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>()

  /** Runs `work` while it holds all `keys`. They are taken in sorted order, so that two callers never wait for each other. */
  async run<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
    const releases: (() => void)[] = []
    for (const key of [...new Set(keys)].sort()) releases.push(await this.#take(key))
    try {
      return await work()
    } finally {
      for (const release of releases) release()
    }
  }

  async #take(key: string): Promise<() => void> {
    const before = this.#tails.get(key)
    let open = (): void => undefined
    const mine = new Promise<void>((resolve) => {
      open = resolve
    })
    this.#tails.set(key, mine)
    await before
    return () => {
      if (this.#tails.get(key) === mine) this.#tails.delete(key)
      open()
    }
  }
}
