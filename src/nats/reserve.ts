import { JetStreamApiError } from '@nats-io/jetstream'
import { AppError } from '../errors.ts'

const storageInsufficient = 10047

/**
 * The server sets the whole size of a bounded stream aside when it is made or grows. Which of ours finds no room is chance:
 * all of them together do not fit.
 * @returns undefined when that is not what is wrong
 */
export function noRoomFor(stream: string, error: unknown): AppError | undefined {
  if (!(error instanceof JetStreamApiError) || error.code !== storageInsufficient) return undefined
  return new AppError('STORE_FULL', `the NATS server has no room for stream ${stream}`, {
    cause: error,
    hint: 'raise its storage limit, or lower STOWAGE_READS_BYTES_MAX, STOWAGE_QUEUE_BYTES_MAX and STOWAGE_DEAD_BYTES_MAX, which it sets aside',
  })
}
