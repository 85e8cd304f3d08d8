import type { CID } from 'multiformats/cid'
import { type AppError, isAppError } from '../errors.ts'
import type { Abortable, Blockstore, Want } from './blockstore.ts'
import type { StoreRef } from './store-ref.ts'

/** Another place to read from. */
export interface Route extends StoreRef {
  /** Verified: what comes out of it is what was asked for. */
  readonly blocks: Pick<Blockstore, 'has' | 'get' | 'getBatch' | 'size'>
  /** At this site: asked first, and one after the other. */
  readonly isLocal: boolean
}

export interface RoutedParts {
  /** Takes all writes, and is asked first. Verified. */
  readonly primary: Blockstore
  /** The other places to ask now, the best first; empty for a node that is alone. */
  readonly others: () => readonly Route[]
  /** A block that the primary store should perhaps have was read elsewhere. It must not throw, and is not waited for. */
  readonly onFound: (
    found: { readonly cid: CID; readonly bytes: Uint8Array; readonly from: Route },
    failure: AppError,
  ) => void
}

/**
 * One blockstore over many: what the primary store lacks, has lost or holds damaged is looked for elsewhere. A place that
 * cannot be reached is passed over: whoever knows what was announced (content/get.ts) tells an outage from an absence.
 */
export class RoutedBlockstore implements Blockstore {
  readonly #parts: RoutedParts

  constructor(parts: RoutedParts) {
    this.#parts = parts
  }

  async has(cid: CID, options: Abortable): Promise<boolean> {
    if (await this.#parts.primary.has(cid, options)) return true
    return (await this.#holder(cid, options)) !== undefined
  }

  async size(cid: CID, options: Abortable): Promise<number> {
    try {
      return await this.#parts.primary.size(cid, options)
    } catch (error) {
      const holder = isMissing(error) ? await this.#holder(cid, options) : undefined
      if (holder === undefined) throw error
      return holder.blocks.size(cid, options)
    }
  }

  async get(cid: CID, options: Abortable): Promise<Uint8Array> {
    try {
      return await this.#parts.primary.get(cid, options)
    } catch (error) {
      if (!isMissing(error)) throw error
      const [bytes] = await this.#elsewhere([{ cid }], [error], options)
      return bytes ?? new Uint8Array()
    }
  }

  async getBatch(wants: readonly Want[], options: Abortable): Promise<Uint8Array[]> {
    try {
      return await this.#parts.primary.getBatch(wants, options)
    } catch (error) {
      if (!isMissing(error) || this.#parts.others().length === 0) throw error
      return this.#piecemeal(wants, options)
    }
  }

  put(block: Parameters<Blockstore['put']>[0], options: Abortable): Promise<boolean> {
    return this.#parts.primary.put(block, options)
  }

  openWriter(options: Abortable): ReturnType<Blockstore['openWriter']> {
    return this.#parts.primary.openWriter(options)
  }

  delete(cid: CID, options: Abortable): Promise<void> {
    return this.#parts.primary.delete(cid, options)
  }

  /** Some are not here: those that are, and the rest in one go from elsewhere. */
  async #piecemeal(wants: readonly Want[], options: Abortable): Promise<Uint8Array[]> {
    const here = await Promise.allSettled(wants.map(({ cid }) => this.#parts.primary.get(cid, options)))
    const missing: number[] = []
    const failures: AppError[] = []
    const result = here.map((settled, index) => {
      if (settled.status === 'fulfilled') return settled.value
      if (!isMissing(settled.reason)) throw settled.reason
      missing.push(index)
      failures.push(settled.reason)
      return new Uint8Array()
    })
    const found = await this.#elsewhere(
      missing.flatMap((index) => wants[index] ?? []),
      failures,
      options,
    )
    for (const [at, index] of missing.entries()) result[index] = found[at] ?? new Uint8Array()
    return result
  }

  /** All of `wants` from other places. @throws the failure of the primary store for the first that nobody has */
  async #elsewhere(wants: readonly Want[], failures: readonly AppError[], options: Abortable): Promise<Uint8Array[]> {
    const result: (Uint8Array | undefined)[] = wants.map(() => undefined)
    for (const route of this.#parts.others()) {
      const open = wants.flatMap((want, index) => (result[index] === undefined ? [{ want, index }] : []))
      if (open.length === 0) break
      const read = await readSome(
        route,
        open.map(({ want }) => want),
        options,
      )
      for (const [at, { want, index }] of open.entries()) {
        const bytes = read[at]
        if (bytes === undefined) continue
        result[index] = bytes
        const failure = failures[index]
        if (failure !== undefined) this.#parts.onFound({ cid: want.cid, bytes, from: route }, failure)
      }
    }
    return result.map((bytes, index) => {
      if (bytes === undefined) throw failures[index]
      return bytes
    })
  }

  /** Places at this site one after the other; those elsewhere all at once, since each costs a long way. */
  async #holder(cid: CID, options: Abortable): Promise<Route | undefined> {
    const others = this.#parts.others()
    for (const route of others) {
      if (route.isLocal && (await hasBlock(route, cid, options))) return route
    }
    const remote = others.filter(({ isLocal }) => !isLocal)
    const answers = await Promise.all(remote.map((route) => hasBlock(route, cid, options)))
    return remote[answers.indexOf(true)]
  }
}

/** What a place has of these: all in one request where it has them all. */
async function readSome(route: Route, wants: readonly Want[], options: Abortable): Promise<(Uint8Array | undefined)[]> {
  try {
    return await route.blocks.getBatch(wants, options)
  } catch (error) {
    if (!isPassedOver(error)) throw error
    if (wants.length === 1 || isAppError(error, 'STORE_UNAVAILABLE')) return wants.map(() => undefined)
  }
  return Promise.all(
    wants.map(async ({ cid }) => {
      try {
        return await route.blocks.get(cid, options)
      } catch (error) {
        if (isPassedOver(error)) return undefined
        throw error
      }
    }),
  )
}

async function hasBlock(route: Route, cid: CID, options: Abortable): Promise<boolean> {
  try {
    return await route.blocks.has(cid, options)
  } catch (error) {
    if (isPassedOver(error)) return false
    throw error
  }
}

/** What another place may have. */
export function isMissing(error: unknown): error is AppError {
  return isAppError(error, 'BLOCK_NOT_FOUND') || isAppError(error, 'BLOCK_LOST') || isAppError(error, 'BLOCK_CORRUPT')
}

const isPassedOver = (error: unknown): boolean => isMissing(error) || isAppError(error, 'STORE_UNAVAILABLE')
