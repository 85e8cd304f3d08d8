import { setImmediate } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import { isIdentity, multihashKey } from '../blocks/block.ts'
import type { Blockstore, Want } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'
import { mayLink } from './codecs.ts'
import { FetchWindow } from './fetch-window.ts'
import type { DagLimits, ReadOptions } from './target.ts'

export interface WalkOptions extends ReadOptions {
  readonly limits: DagLimits
  /** Give a block each time that it is linked, and what is below it each time: IPIP-412 `dups=y`. */
  readonly dups?: boolean
}

export interface Visited {
  readonly cid: CID
  readonly bytes: Uint8Array
}

/** A link to be followed. */
export interface Step extends Want {
  /**
   * Names the part of the DAG below it that is wanted; left out when it is all of it. One block can be met for several
   * parts: it is given once, and followed for each.
   */
  readonly part?: string
}

/** The links of a block that are to be followed, in their order. `step` led to it; undefined at the root. */
export type Follow<S extends Step> = (block: Visited, step: S | undefined) => readonly S[]

/** A block whose place in the order is settled. */
interface Planned<S> {
  readonly want: S
  readonly key: string
  readonly depth: number
  /** It was given before, and is wanted for another part of what is below it. */
  readonly again: boolean
  /** Its links have been put on the stack, or it has none by its codec. */
  expanded: boolean
}

/** The links of one node that are still to be followed. */
interface Frame<S> {
  readonly links: readonly S[]
  readonly depth: number
  /** The next link to be planned. */
  next: number
  /** The next link that may be asked for before its place is known. */
  ahead: number
}

/** Blocks planned and not yet taken; also bounds what one look ahead costs. */
const plannedMax = 1024
/** Links of all nodes on the way down: some 60 MB. A directory in a directory has a few thousand. */
const linksPendingMax = 131_072

/**
 * The DAG below `root` in depth-first pre-order, as far as `follow` goes, each block once (or each time, see `dups`), links
 * in the order of their block; identity CIDs are followed and not given. The order depends on nothing but the DAG.
 *
 * It pulls: at most `readAheadBytes` (by the sizes that the links state) are fetched or under way. Blocks are asked for in
 * batches over the borders of nodes, so that many small files below a directory cost few round trips; and while a node
 * is under way whose links come next, its siblings are asked for, with a quarter of the window.
 *
 * One block is met again under another codec only: what is raw in one place can have links in another.
 * @throws AppError BLOCK_NOT_FOUND, BLOCK_LOST or BLOCK_CORRUPT in the place of that block, after all before it;
 *   DAG_INVALID; LIMIT_EXCEEDED; STORE_UNAVAILABLE; the signal's reason when aborted
 */
export async function* walk<S extends Step>(
  root: Visited,
  follow: Follow<S>,
  blocks: Pick<Blockstore, 'get' | 'getBatch'>,
  options: WalkOptions,
): AsyncGenerator<Visited, void, undefined> {
  const { signal } = options
  const plan = new Plan(root, follow, new FetchWindow(blocks, options), options)
  const budget = budgetOf(options)
  let visited = 0
  let bytesVisited = 0
  for (;;) {
    signal.throwIfAborted()
    const block = await plan.next()
    if (block === undefined) return
    visited++
    bytesVisited += block.bytes.byteLength
    if (visited > budget.blocksMax) throw exceeded(`more than ${budget.blocksMax} blocks`, 'DAG_BLOCKS_MAX')
    if (bytesVisited > budget.bytesMax) throw exceeded(`more than ${budget.bytesMax} bytes`, budget.bytesSetting)
    if (!block.again) yield block
    // Blocks out of a cache arrive without I/O: let other requests, and the abort of this one, have their turn.
    if (visited % 256 === 0) await setImmediate()
  }
}

/** What is repeated costs nothing to store and everything to send: a few KB can stand for 2^60 bytes. */
function budgetOf({ limits, dups = false }: WalkOptions) {
  return {
    blocksMax: limits.dagBlocksMax,
    bytesMax: dups ? Math.min(limits.dagBytesMax, limits.dagExpandedBytesMax) : limits.dagBytesMax,
    bytesSetting: dups ? 'DAG_EXPANDED_BYTES_MAX' : 'DAG_BYTES_MAX',
  } as const
}

const limitOf = {
  DAG_DEPTH_MAX: 'dag_depth',
  DAG_BLOCKS_MAX: 'dag_blocks',
  DAG_BYTES_MAX: 'dag_bytes',
  DAG_EXPANDED_BYTES_MAX: 'dag_expanded_bytes',
} as const

function exceeded(what: string, setting?: keyof typeof limitOf): AppError {
  const bound =
    setting === undefined
      ? ({ limit: 'held_bytes' } as const)
      : { hint: `the setting ${setting} bounds it`, limit: limitOf[setting] }
  return new AppError('LIMIT_EXCEEDED', `the DAG has ${what}`, bound)
}

/**
 * What has been planned, so that no block comes twice. A block is known by its multihash key and its codec: the same bytes
 * have links or not by how they are linked.
 */
class Met {
  /** Blocks with all that is wanted below them: the codec they were first met under. */
  readonly #whole = new Map<string, number>()
  /** The few that were met under a further one. */
  readonly #otherwise = new Set<string>()
  /** Blocks met for a part, by themselves and with the part. Few: a range cuts two blocks of each level. */
  readonly #parts = new Set<string>()

  /** Whether following this step could give anything new. */
  isNew({ cid, part }: Step, key: string): boolean {
    const code = this.#whole.get(key)
    if (code === cid.code || (code !== undefined && this.#otherwise.has(withCodec(cid, key)))) return false
    return part === undefined || !this.#parts.has(withCodec(cid, key) + part)
  }

  /** Remembers it. @returns whether its block has been met before, for another part */
  add({ cid, part }: Step, key: string): boolean {
    const again = this.#parts.size > 0 && this.#parts.has(withCodec(cid, key))
    if (part !== undefined) this.#parts.add(withCodec(cid, key)).add(withCodec(cid, key) + part)
    else if (this.#whole.has(key)) this.#otherwise.add(withCodec(cid, key))
    else this.#whole.set(key, cid.code)
    return again
  }
}

function withCodec({ code }: CID, key: string): string {
  return String.fromCharCode(code) + key
}

/** Settles the order as far as the nodes that have arrived allow, and asks the window for what comes next. */
class Plan<S extends Step> {
  readonly #window: FetchWindow
  readonly #follow: Follow<S>
  readonly #limits: DagLimits
  readonly #stack: Frame<S>[] = []
  /** Undefined: nothing is left out for having been met. */
  readonly #met: Met | undefined
  /** Settled and not yet taken. */
  #planned: Planned<S>[] = []
  #taken = 0
  #linksPending = 0
  #root: Visited | undefined

  constructor(root: Visited, follow: Follow<S>, window: FetchWindow, { limits, dups = false }: WalkOptions) {
    this.#window = window
    this.#follow = follow
    this.#limits = limits
    this.#root = root
    this.#met = dups ? undefined : new Met()
    this.#met?.add({ cid: root.cid }, multihashKey(root.cid))
  }

  async next(): Promise<(Visited & { readonly again: boolean }) | undefined> {
    if (this.#root !== undefined) return this.#takeRoot(this.#root)
    this.#advance()
    const head = this.#planned[this.#taken]
    if (head === undefined) return undefined
    const { cid } = head.want
    const bytes = await this.#window.take(head.want, head.key)
    this.#expand(head, bytes)
    this.#shift()
    return { cid, bytes, again: head.again }
  }

  #takeRoot({ cid, bytes }: Visited): Visited & { readonly again: boolean } {
    this.#root = undefined
    this.#push({ cid, bytes }, undefined, 0)
    return { cid, bytes, again: false }
  }

  /** Plans until the window is full or a node has to arrive first, then looks ahead of that node. */
  #advance(): void {
    const window = this.#window
    let last = this.#planned.at(-1)
    let urgent = false
    for (;;) {
      if (last !== undefined && !last.expanded) {
        const bytes = window.peek(last.key)
        if (bytes === undefined) {
          this.#lookAhead()
          urgent = !window.isUnderWay(last.key)
          break
        }
        this.#expand(last, bytes)
      }
      if (this.#planned.length - this.#taken >= plannedMax || !window.hasRoom('planned')) break
      last = this.#plan()
      if (last === undefined) {
        urgent = true
        break
      }
    }
    window.start(this.#planned[this.#taken]?.key, urgent)
  }

  /** Settles the place of one more block. @returns undefined when there is none */
  #plan(): Planned<S> | undefined {
    for (let frame = this.#stack.at(-1); frame !== undefined; frame = this.#stack.at(-1)) {
      const want = frame.links[frame.next]
      if (want === undefined) {
        this.#stack.pop()
        this.#linksPending -= frame.links.length
        continue
      }
      frame.next++
      const key = multihashKey(want.cid)
      if (this.#met?.isNew(want, key) === false) continue
      const again = this.#met?.add(want, key) ?? false
      if (isIdentity(want.cid)) {
        this.#push({ cid: want.cid, bytes: want.cid.multihash.digest }, want, frame.depth)
        continue
      }
      if (frame.depth > this.#limits.dagDepthMax) {
        throw exceeded(`a chain of more than ${this.#limits.dagDepthMax} links`, 'DAG_DEPTH_MAX')
      }
      const planned = { want, key, depth: frame.depth, again, expanded: !mayLink(want.cid) }
      this.#planned.push(planned)
      this.#window.ask(want, key, 'planned')
      return planned
    }
    return undefined
  }

  #lookAhead(): void {
    for (let index = this.#stack.length - 1; index >= 0; index--) {
      const frame = this.#stack[index]
      if (frame === undefined) return
      frame.ahead = Math.max(frame.ahead, frame.next)
      for (let want = frame.links[frame.ahead]; want !== undefined; want = frame.links[frame.ahead]) {
        if (!this.#window.hasRoom('ahead')) return
        frame.ahead++
        if (isIdentity(want.cid)) continue
        const key = multihashKey(want.cid)
        if (this.#met?.isNew(want, key) !== false) this.#window.ask(want, key, 'ahead')
      }
    }
  }

  #expand(planned: Planned<S>, bytes: Uint8Array): void {
    if (planned.expanded) return
    planned.expanded = true
    this.#push({ cid: planned.want.cid, bytes }, planned.want, planned.depth)
  }

  #push(block: Visited, step: S | undefined, depth: number): void {
    const links = this.#follow(block, step)
    if (links.length === 0) return
    this.#linksPending += links.length
    if (this.#linksPending > linksPendingMax) throw exceeded(`more than ${linksPendingMax} links open at a time`)
    this.#stack.push({ links, depth: depth + 1, next: 0, ahead: 0 })
  }

  #shift(): void {
    this.#taken++
    if (this.#taken < plannedMax && this.#taken < this.#planned.length) return
    this.#planned = this.#planned.slice(this.#taken)
    this.#taken = 0
  }
}
