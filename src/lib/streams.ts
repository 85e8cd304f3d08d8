/**
 * Maps `source` in order with up to `ahead` results under way beyond the one being consumed. It pulls: nothing is started
 * until the consumer asks, and a consumer that stops asking stops the source after `ahead` items.
 */
export async function* mapAhead<A, B>(
  source: AsyncIterable<A> | Iterable<A>,
  ahead: number,
  map: (item: A) => Promise<B>,
): AsyncGenerator<B> {
  const pending: Promise<B>[] = []
  try {
    for await (const item of source) {
      const result = map(item)
      // One that fails while an earlier one is awaited must not end the process: whoever awaits it hears of it.
      result.catch(() => undefined)
      pending.push(result)
      if (pending.length > ahead) {
        const head = pending.shift()
        if (head !== undefined) yield await head
      }
    }
    for (let head = pending.shift(); head !== undefined; head = pending.shift()) yield await head
  } finally {
    pending.length = 0
  }
}

/**
 * Waits for the first item, so that a source that fails at once fails here, before any header has been sent.
 * The returned iterable gives the first item and then the rest.
 */
export async function peek<T>(source: AsyncIterable<T>): Promise<AsyncIterable<T>> {
  const iterator = source[Symbol.asyncIterator]()
  const first = await iterator.next()
  return (async function* () {
    try {
      if (first.done) return
      yield first.value
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value
    } finally {
      await iterator.return?.()
    }
  })()
}

/** The first `bytes` of it, or all where there are fewer; `whole` gives them and the rest, once. */
export async function peekBytes(
  source: AsyncIterable<Uint8Array>,
  bytes: number,
): Promise<{ readonly start: Buffer; readonly whole: AsyncIterable<Uint8Array> }> {
  const iterator = source[Symbol.asyncIterator]()
  const parts: Uint8Array[] = []
  let seen = 0
  while (seen < bytes) {
    const next = await iterator.next()
    if (next.done) break
    parts.push(next.value)
    seen += next.value.byteLength
  }
  return {
    start: Buffer.concat(parts).subarray(0, bytes),
    whole: (async function* () {
      try {
        yield* parts
        for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value
      } finally {
        await iterator.return?.()
      }
    })(),
  }
}

/** One buffer of all the bytes, for sources known to be small. @throws RangeError above `bytesMax` */
export async function collect(source: AsyncIterable<Uint8Array>, bytesMax: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of source) {
    bytes += part.byteLength
    if (bytes > bytesMax) throw new RangeError(`more than ${bytesMax} bytes`)
    parts.push(part)
  }
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts)
}

/** Bytes that are here already, where a stream is asked for. */
export async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
