/** What was opened, to be closed again in reverse. */
export class Closers {
  readonly #closers: (() => unknown)[] = []

  push(close: () => unknown): void {
    this.#closers.push(close)
  }

  /** One that cannot be closed does not keep the others open. @throws the first failure, when all have had their turn */
  async closeAll(): Promise<void> {
    const failures: unknown[] = []
    for (let close = this.#closers.pop(); close !== undefined; close = this.#closers.pop()) {
      await Promise.resolve(close()).catch((error: unknown) => failures.push(error))
    }
    if (failures.length > 0) throw failures[0]
  }
}
