import { AppError } from '../errors.ts'
import { isDuplicate, isStorageFull, isTransient, isWrongLastSequence, JetStreamRefusal } from './publish.ts'

const sealed = 10109

/**
 * What to say of a write that JetStream refused for good: the stream is full, or takes no writes at all (sealed, edited by hand).
 * @returns undefined for what the caller has to judge (compare-and-set, repeated ids, another try), and for what is no refusal
 */
export function refusedWrite(error: unknown): AppError | undefined {
  if (!(error instanceof JetStreamRefusal)) return undefined
  if (isWrongLastSequence(error) || isDuplicate(error) || isTransient(error)) return undefined
  const place = placeOf(error.subject)
  if (isStorageFull(error)) {
    return new AppError('STORE_FULL', `the store is full: NATS takes no more in ${place} (${error.description})`, {
      cause: error,
      hint: 'free space or raise its limit; what was stored before is still readable',
    })
  }
  const isSealed = error.code === sealed
  const why = isSealed ? 'it is sealed, for ever' : error.description
  return new AppError('STORE_REFUSED', `NATS refuses to write to ${place}: ${why} (JetStream error ${error.code})`, {
    cause: error,
    hint: isSealed
      ? 'what it holds can still be read; store into another one: set STOWAGE_STORE for blocks, STOWAGE_DOMAIN for all else'
      : 'somebody has changed the stream: look at `nats stream info`, and see stowage doctor',
  })
}

/** What lies on a subject, as people look for it. */
function placeOf(subject: string): string {
  const [first, second = '', third] = subject.split('.')
  if (first === '$O') return `bucket ${second} (stream OBJ_${second})`
  if (first === '$KV') return `KV bucket ${second} (stream KV_${second})`
  return third === undefined ? `the stream of ${subject}` : `the stream of ${first}.${second}.>`
}
