import { setImmediate } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import { isIdentity, multihashKey } from '../blocks/block.ts'
import type { Blockstore, Want } from '../blocks/blockstore.ts'
import { AppError } from '../errors.ts'
import { codecs, linksOf } from './codecs.ts'
import { FetchWindow } from './fetch-window.ts'
import type { DagLimits, ReadOptions } from './target.ts'

export interface WalkOptions extends ReadOptions {
  readonly limits: DagLimits
}

export interface Visited {
  readonly cid: CID
  readonly bytes: Uint8Array
}

/** A block whose place in the order is settled. */
interface Planned {
  readonly want: Want
  readonly depth: number
  /** Its links have been put on the stack, or it has none by its codec. */
  expanded: boolean
}

/** The links of one node that are still to be followed. */
interface Frame {
  readonly links: readonly Want[]
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
 * The DAG below `root` in depth-first pre-order, each block once, links in the order of their block; identity CIDs are
 * followed and not given. The order depends on nothing but the DAG.
 *
 * It pulls: at most `readAheadBytes` (by the sizes that the links state) are fetched or under way. Blocks are asked for in
 * batches over the borders of nodes, so that many small files below a directory cost few round trips; and while a node
 * is under way whose links come next, its siblings are asked for, with a quarter of the window.
 *
 * One block is met again under another codec only: what is raw in one place can have links in another.
 * @throws AppError BLOCK_NOT_FOUND, BLOCK_LOST or BLOCK_CORRUPT in the place of that block, after all before it;
 *   DAG_INVALID; LIMIT_EXCEEDED; STORE_UNAVAILABLE; the signal's reason when aborted
 */
export async function* walk(
  root: Visited,
  blocks: Pick<Blockstore, 'get' | 'getBatch'>,
  options: WalkOptions,
): AsyncGenerator<Visited, void, undefined> {
  const { signal, limits } = options
  const plan = new Plan(root, new FetchWindow(blocks, options), limits)
  let visited = 0
  let bytesVisited = 0
  for (;;) {
    signal.throwIfAborted()
    const block = await plan.next()
    if (block === undefined) return
    visited++
    bytesVisited += block.bytes.byteLength
    if (visited > limits.dagBlocksMax) throw exceeded(`more than ${limits.dagBlocksMax} blocks`, 'DAG_BLOCKS_MAX')
    if (bytesVisited > limits.dagBytesMax) throw exceeded(`more than ${limits.dagBytesMax} bytes`, 'DAG_BYTES_MAX')
    yield block
    // Blocks out of a cache arrive without I/O: let other requests, and the abort of this one, have their turn.
    if (visited % 256 === 0) await setImmediate()
  }
}

function exceeded(what: string, setting?: string): AppError {
  const hint = setting === undefined ? {} : { hint: `the setting ${setting} bounds it` }
  return new AppError('LIMIT_EXCEEDED', `the DAG has ${what}`, hint)
}

/** One block in one codec: the same bytes have links or not by how they are linked. */
function visitKey(cid: CID): string {
  return String.fromCharCode(cid.code) + multihashKey(cid)
}

/** Settles the order as far as the nodes that have arrived allow, and asks the window for what comes next. */
class Plan {
  readonly #window: FetchWindow
  readonly #limits: DagLimits
  readonly #stack: Frame[] = []
  readonly #met = new Set<string>()
  /** Settled and not yet taken. */
  #planned: Planned[] = []
  #taken = 0
  #linksPending = 0
  #root: Visited | undefined

  constructor(root: Visited, window: FetchWindow, limits: DagLimits) {
    this.#window = window
    this.#limits = limits
    this.#root = root
    this.#met.add(visitKey(root.cid))
  }

  async next(): Promise<Visited | undefined> {
    if (this.#root !== undefined) return this.#takeRoot(this.#root)
    this.#advance()
    const head = this.#planned[this.#taken]
    if (head === undefined) return undefined
    const { cid } = head.want
    const bytes = await this.#window.take(head.want)
    this.#expand(head, bytes)
    this.#shift()
    return { cid, bytes }
  }

  #takeRoot(root: Visited): Visited {
    this.#root = undefined
    this.#push(root.cid, root.bytes, 0)
    return root
  }

  /** Plans until the window is full or a node has to arrive first, then looks ahead of that node. */
  #advance(): void {
    const window = this.#window
    let last = this.#planned.at(-1)
    let urgent = false
    for (;;) {
      if (last !== undefined && !last.expanded) {
        const bytes = window.peek(last.want)
        if (bytes === undefined) {
          this.#lookAhead()
          urgent = !window.isUnderWay(last.want)
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
    window.start(this.#planned[this.#taken]?.want, urgent)
  }

  /** Settles the place of one more block. @returns undefined when there is none */
  #plan(): Planned | undefined {
    for (let frame = this.#stack.at(-1); frame !== undefined; frame = this.#stack.at(-1)) {
      const want = frame.links[frame.next]
      if (want === undefined) {
        this.#stack.pop()
        this.#linksPending -= frame.links.length
        continue
      }
      frame.next++
      const key = visitKey(want.cid)
      if (this.#met.has(key)) continue
      this.#met.add(key)
      if (isIdentity(want.cid)) {
        this.#push(want.cid, want.cid.multihash.digest, frame.depth)
        continue
      }
      if (frame.depth > this.#limits.dagDepthMax) {
        throw exceeded(`a chain of more than ${this.#limits.dagDepthMax} links`, 'DAG_DEPTH_MAX')
      }
      const planned = { want, depth: frame.depth, expanded: !mayLink(want.cid) }
      this.#planned.push(planned)
      this.#window.ask(want, 'planned')
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
        if (!isIdentity(want.cid) && !this.#met.has(visitKey(want.cid))) this.#window.ask(want, 'ahead')
      }
    }
  }

  #expand(planned: Planned, bytes: Uint8Array): void {
    if (planned.expanded) return
    planned.expanded = true
    this.#push(planned.want.cid, bytes, planned.depth)
  }

  #push(cid: CID, bytes: Uint8Array, depth: number): void {
    const links = linksOf(cid, bytes, this.#limits)
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

function mayLink(cid: CID): boolean {
  return cid.code === codecs.dagPb || cid.code === codecs.dagCbor || cid.code === codecs.dagJson
}
