import type { CID } from 'multiformats/cid'
import type { Target } from '../dag/target.ts'
import { AppError } from '../errors.ts'
import type { Get, PathEnd } from './get.ts'

/** What a failure to read below a root means: the error to answer with, perhaps the same. */
export type JudgeFailure = (root: CID, failure: unknown, signal: AbortSignal) => Promise<unknown>

/** Has every failure judged before it leaves, whenever in a read it comes. What succeeds costs nothing more. */
export function judgedGet(get: Get, judge: JudgeFailure): Get {
  const judged = <T>(items: AsyncIterable<T>, root: CID, signal: AbortSignal) => judgedItems(items, root, signal, judge)
  return {
    ...get,
    open: async (path, options) => {
      const target = await orJudged(() => get.open(path, options), path.root, options.signal, judge)
      return judgedTarget(target, path.root, judge)
    },
    follow: async (path, options) => {
      const end = await orJudged(() => get.follow(path, options), path.root, options.signal, judge)
      return 'reason' in end ? end : judgedTarget(end, path.root, judge)
    },
    car: (end, params, options) => judged(get.car(end, params, options), rootOf(end), options.signal),
    tar: (target, options) => judged(get.tar(target, options), rootOf(target), options.signal),
  }
}

function judgedTarget(target: Target, root: CID, judge: JudgeFailure): Target {
  return {
    ...target,
    read: (range, options) => judgedItems(target.read(range, options), root, options.signal, judge),
    list: (options) => judgedItems(target.list(options), root, options.signal, judge),
    entry: (name, options) => orJudged(() => target.entry(name, options), root, options.signal, judge),
  }
}

function rootOf(end: PathEnd): CID {
  const [root] = end.roots
  if (root === undefined) throw new AppError('INTERNAL', 'a path without its root')
  return root
}

async function orJudged<T>(work: () => Promise<T>, root: CID, signal: AbortSignal, judge: JudgeFailure): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw await judge(root, error, signal)
  }
}

async function* judgedItems<T>(
  items: AsyncIterable<T>,
  root: CID,
  signal: AbortSignal,
  judge: JudgeFailure,
): AsyncGenerator<T, void, undefined> {
  try {
    yield* items
  } catch (error) {
    throw await judge(root, error, signal)
  }
}
