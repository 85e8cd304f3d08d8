import type { Abortable } from '../blocks/blockstore.ts'
import type { DagSource } from '../dag/open-links.ts'
import type { PathOptions } from '../dag/path.ts'
import type { DagLimits } from '../dag/target.ts'
import { AppError } from '../errors.ts'
import type { EventLog } from '../events/log.ts'
import { passBy, type Reach } from '../lib/crash-point.ts'
import { checkName, parseReference } from '../names/name.ts'
import type { NameEntry } from '../names/name-entry.ts'
import { entryOfVersion } from '../names/name-heads.ts'
import type { Names } from '../names/names.ts'
import { isOutOfView } from '../names/view.ts'
import { CommandLog } from './command-log.ts'
import { createDeleteCommand } from './delete-command.ts'
import type { Get } from './get.ts'
import { type ChangeIpns, createChangeIpns, createIpnsVerbs, type IpnsVerbs } from './ipns-commands.ts'
import { createDecide, createNameCommands } from './name-commands.ts'
import { nameNotFound } from './name-plan.ts'
import type { Put } from './put.ts'
import { createPutCommand, type PolicyClass } from './put-command.ts'
import type { IsDeleted, Verbs } from './verbs.ts'

export interface VerbParts {
  readonly put: Put
  readonly get: Pick<Get, 'open'>
  readonly blocks: DagSource
  readonly log: EventLog
  readonly names: Names
  readonly limits: PathOptions & DagLimits
  /** That takes puts: an event says where the content lies. Undefined = it is not said. */
  readonly store?: string | undefined
  /** Undefined: announcements do not say under which rule content falls. */
  readonly policyClass?: PolicyClass | undefined
  /** For tests that kill the process. */
  readonly reach?: Reach
}

export interface RunningVerbs extends Verbs, IpnsVerbs {
  /** For what signs records here. */
  readonly changeIpns: ChangeIpns
  readonly isDeleted: IsDeleted
  /** Resolves when every event that is under way is in the log, or given up. */
  idle(): Promise<void>
}

const pageNamesMax = 10_000

export function createVerbs(given: VerbParts): RunningVerbs {
  const { put, get, blocks, log, names, limits, store, policyClass, reach = passBy } = given
  const commands = new CommandLog(log, names)
  const decide = createDecide(names)
  const parts = { put, get, blocks, names, commands, limits, store, policyClass, reach }
  const changeIpns = createChangeIpns(parts)
  return {
    put: createPutCommand(parts, decide),
    ...createNameCommands(parts, decide),
    deleteObject: createDeleteCommand(parts, decide),
    ...createIpnsVerbs(parts, changeIpns),
    changeIpns,
    resolveName: (reference, options) => resolve(names, reference, options),
    nameHistory: async (name, { after = 0, limit, signal }) => {
      checkName(name)
      const page = await names.log.historyPage(name, { after, limit, signal })
      if (after === 0 && page.versions.length === 0) throw nameNotFound(name)
      return page
    },
    listNames: async (prefix, { limit, cursor, signal }) => {
      if (!(limit >= 1 && limit <= pageNamesMax)) {
        throw new AppError('REQUEST_INVALID', `limit is not between 1 and ${pageNamesMax}`)
      }
      const page = await names.list.page(prefix, limit, cursor, signal)
      const found = await names.index.getMany(page.names, signal)
      const entries = found.length < page.names.length ? await withLacking(names, page.names, found, signal) : found
      return { names: entries, ...(page.next === undefined ? {} : { next: page.next }) }
    },
    namesOf: (cid, { signal }) => names.index.namesOf(cid, signal),
    isDeleted: (cid, { signal }) => isOutOfView(names, cid, signal),
    idle: async () => {
      await commands.idle()
      await log.idle()
    },
  }
}

/** What the list knows and the index does not was removed this moment, or another node makes the index anew: the log tells. */
async function withLacking(names: Names, all: readonly string[], found: readonly NameEntry[], signal: AbortSignal) {
  const known = new Map(found.map((entry) => [entry.name, entry]))
  const heads = await names.log.heads(
    all.filter((name) => !known.has(name)),
    signal,
  )
  for (const { name, version } of heads) {
    const entry = entryOfVersion(name, version)
    if (entry !== undefined) known.set(name, entry)
  }
  return all.flatMap((name) => known.get(name) ?? [])
}

/** @throws AppError NAME_INVALID | NAME_NOT_FOUND */
async function resolve(names: Names, reference: string, { signal }: Abortable): Promise<NameEntry> {
  const { name, version } = parseReference(reference)
  // What the index does not know may be in the log all the same, when a crash came between.
  const isAsked = !names.whole.mending.includes('names')
  const now = async () =>
    (isAsked ? await names.index.get(name, signal) : undefined) ??
    entryOfVersion(name, (await names.log.head(name, signal)).version)
  const entry =
    version === undefined ? await now() : entryOfVersion(name, await names.log.versionAt(name, version, signal))
  if (entry === undefined) throw nameNotFound(reference)
  return entry
}
