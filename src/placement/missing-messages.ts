import { AppError } from '../errors.ts'
import { isRecord } from '../lib/json.ts'
import type { Positions } from '../nats/log-positions.ts'
import { type RangeAnswer, type RangeAsk, rangesPerAskMax } from './range-digest.ts'

/** Each site answers, once; of one site alone with its name as the last token. */
export const missingSubject = ({ domain, space }: { readonly domain: string; readonly space: string }, site?: string) =>
  `${domain}.qry.${space}.missing${site === undefined ? '' : `.${site}`}`

/** "What am I missing?", as one site asks another on `<d>.qry.<space>.missing.<site>`. */
export interface MissingAsk {
  /** How far the asker's log has the events of each site. */
  readonly positions: Positions
  /** Ranges of its root keys; empty = it asks about events alone. */
  readonly ranges: readonly RangeAsk[]
}

export interface Behind {
  /** Whose events. */
  readonly site: string
  /** The asker has them up to here; the answering site up to there. Sequences of the log of `site`. */
  readonly here: number
  readonly there: number
  /** How many there are between, where the answering site is the one that wrote them. */
  readonly events?: number
}

export interface MissingAnswer {
  readonly site: string
  /** Only where the asker is behind. */
  readonly behind: readonly Behind[]
  /** Root keys known there; absent where nothing was asked about them. */
  readonly roots?: number
  /** For the first of the ranges, in their order. */
  readonly ranges: readonly RangeAnswer[]
}

const sitesMax = 1_000
const keyLengthMax = 128

/** @throws AppError REQUEST_INVALID */
export function missingAskOf({ positions = {}, ranges = [] }: Readonly<Record<string, unknown>>): MissingAsk {
  if (!isPositions(positions)) throw invalid('positions are sequences by site')
  if (!Array.isArray(ranges) || ranges.length > rangesPerAskMax || !ranges.every(isRangeAsk)) {
    throw invalid(`ranges are at most ${rangesPerAskMax} of { from, to, digest }`)
  }
  return { positions, ranges }
}

/** @throws AppError REQUEST_INVALID for what is no answer: it came from another program, or another version */
export function missingAnswerOf(value: unknown): MissingAnswer {
  if (isRecord(value)) {
    const { site, behind, roots, ranges } = value
    const isAnswer = typeof site === 'string' && Array.isArray(behind) && behind.length <= sitesMax
    if (isAnswer && behind.every(isBehind) && Array.isArray(ranges) && ranges.every(isRangeAnswer)) {
      return { site, behind, ranges, ...(typeof roots === 'number' ? { roots } : {}) }
    }
  }
  throw invalid('this is no answer of a site')
}

const invalid = (message: string) => new AppError('REQUEST_INVALID', message)

const isSequence = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

const isText = (value: unknown): value is string => typeof value === 'string' && value.length <= keyLengthMax

function isPositions(value: unknown): value is Positions {
  if (!isRecord(value)) return false
  const entries = Object.entries(value)
  return entries.length <= sitesMax && entries.every(([site, sequence]) => isText(site) && isSequence(sequence))
}

function isRangeAsk(value: unknown): value is RangeAsk {
  return isRecord(value) && [value.from, value.to, value.digest].every(isText)
}

function isBehind(value: unknown): value is Behind {
  if (!isRecord(value) || !isText(value.site)) return false
  return isSequence(value.here) && isSequence(value.there) && (value.events === undefined || isSequence(value.events))
}

function isRangeAnswer(value: unknown): value is RangeAnswer {
  if (!isRecord(value)) return false
  if ('same' in value) return value.same === true
  if ('keys' in value) return Array.isArray(value.keys) && value.keys.every(isText)
  return Array.isArray(value.parts) && value.parts.every(isPart)
}

function isPart(value: unknown): boolean {
  return isRecord(value) && isText(value.to) && isText(value.digest) && isSequence(value.count)
}
