import { setTimeout as delay } from 'node:timers/promises'
import { CID } from 'multiformats/cid'
import { idTaken } from '../content/command-id.ts'
import { type CommandLog, failureKey, type Recorded } from '../content/command-log.ts'
import { AppError } from '../errors.ts'
import type { Json } from '../events/canonical.ts'
import type { Context } from '../events/envelope.ts'
import { checkName } from '../names/name.ts'
import type { ProjectionRecord } from './model.ts'
import { type ProjectionChange, placeEvents } from './place-events.ts'

interface Abortable {
  readonly signal: AbortSignal
}

/** What a consumer says of itself; not judged yet. */
export interface ProjectionRequest {
  readonly site: string
  /** A name, or a name prefix that ends in `/`. */
  readonly name?: string | undefined
  readonly cid?: string | undefined
}

export interface ProjectionOutcome {
  readonly projection: ProjectionRecord
  readonly eventId: string
  readonly sequence: number
  readonly repeated: boolean
}

/** Who shows what where: a website, a service. Its content comes to that site by itself. */
export interface ProjectionVerbs {
  /** Those that this node knows of, by their ids. */
  list(): readonly ProjectionRecord[]
  /** @throws AppError PLACE_NOT_FOUND */
  get(id: string): ProjectionRecord
  /** Registers, or changes what was registered by this id. @throws AppError REQUEST_INVALID | NAME_INVALID | CID_INVALID */
  set(context: Context, id: string, asked: ProjectionRequest, options: Abortable): Promise<ProjectionOutcome>
  /** @throws AppError PLACE_NOT_FOUND */
  remove(context: Context, id: string, options: Abortable): Promise<ProjectionOutcome>
}

export interface ProjectionParts {
  readonly domain: string
  readonly space: string
  readonly commands: CommandLog
  readonly known: () => readonly ProjectionRecord[]
  readonly sites: () => readonly string[]
}

const shownMsMax = 2_000
const pollMs = 20

export function createProjectionVerbs(parts: ProjectionParts): ProjectionVerbs {
  const { domain, space, commands, known } = parts
  const find = (id: string) => known().find((one) => one.id === id)
  const carryOut = async (context: Context, change: ProjectionChange, { signal }: Abortable) => {
    const { id } = change
    const { events, repeated } = await commands.carryOut(context, {
      failure: { entity: 'projection', verb: 'set', key: failureKey(id), subject: id },
      filters: () => [`${domain}.evt.*.${space}.projection.*.${id}`],
      signal,
      asked: () => ({ verb: 'projection', change: { ...change } as Json }),
      work: (commit) => commit([{ draft: placeEvents.projection(change) }], () => undefined),
    })
    return outcomeOf(events, repeated)
  }
  /** Whoever has changed it sees it so: this node learns of it by its own log, a moment later. */
  const shown = async (isShown: () => boolean, signal: AbortSignal) => {
    const endMs = performance.now() + shownMsMax
    while (!isShown() && performance.now() < endMs) await delay(pollMs, undefined, { signal })
  }
  return {
    list: known,
    get: (id) => {
      const found = find(id)
      if (found === undefined) throw notFound(id)
      return found
    },
    set: async (context, id, asked, options) => {
      const projection = projectionOf(id, asked, parts.sites())
      const outcome = await carryOut(context, projection, options)
      const text = JSON.stringify([projection.site, projection.subject])
      await shown(() => {
        const now = find(id)
        return JSON.stringify([now?.site, now?.subject]) === text
      }, options.signal)
      return outcome
    },
    remove: async (context, id, options) => {
      const before = find(id)
      if (before === undefined) throw notFound(id)
      const outcome = await carryOut(context, { id, removed: true }, options)
      await shown(() => find(id) === undefined, options.signal)
      return { ...outcome, projection: before }
    },
  }
}

function projectionOf(id: string, { site, name, cid }: ProjectionRequest, sites: readonly string[]): ProjectionRecord {
  if (!/^[\w-]{1,64}$/.test(id)) {
    throw new AppError('REQUEST_INVALID', 'the id of a projection is 1-64 letters, digits, "_" or "-"')
  }
  if (!sites.includes(site)) {
    throw new AppError('REQUEST_INVALID', `there is no site ${JSON.stringify(site.slice(0, 64))}`, {
      hint: `sites that are known here: ${sites.join(', ')}`,
    })
  }
  if ((name === undefined) === (cid === undefined)) {
    throw new AppError('REQUEST_INVALID', 'a projection has a name (or a name prefix that ends in /) or a cid')
  }
  if (cid !== undefined) return { id, site, subject: { cid: parsed(cid).toV1().toString() } }
  const text = name ?? ''
  checkName(text.endsWith('/') ? text.slice(0, -1) : text)
  return { id, site, subject: { name: text } }
}

function parsed(cid: string): CID {
  try {
    return CID.parse(cid)
  } catch (cause) {
    throw new AppError('CID_INVALID', `${JSON.stringify(cid.slice(0, 100))} is no CID`, { cause })
  }
}

function outcomeOf([first]: readonly Recorded[], repeated: boolean): ProjectionOutcome {
  const data = first?.event.data
  if (first === undefined || typeof data?.id !== 'string' || !first.event.type.includes('.projection.')) {
    throw idTaken()
  }
  const { id, site = '', subject } = data
  return {
    projection: { id, site: String(site), subject: (subject ?? { name: '' }) as ProjectionRecord['subject'] },
    eventId: first.event.id,
    sequence: first.sequence,
    repeated,
  }
}

const notFound = (id: string) =>
  new AppError('PLACE_NOT_FOUND', `there is no projection ${JSON.stringify(id.slice(0, 64))}`, {
    hint: 'see `stowage projection ls`',
  })
