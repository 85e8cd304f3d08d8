import { AppError } from '../errors.ts'
import type { LogIdentity } from '../nats/log-identity.ts'
import type { Projection } from './fold-mark.ts'

/** What is wrong with a log. */
export type LogFault =
  /** It ends before what was folded from it. */
  | { readonly kind: 'shorter'; readonly last: number; readonly known: number; readonly by: Projection | 'this node' }
  /** It holds another event where one was folded: it lost its end and has grown again, or is another log. */
  | { readonly kind: 'changed'; readonly sequence: number; readonly by: Projection | 'this node' }
  /** Events are gone out of its midst or its beginning: nothing in it is ever deleted. */
  | { readonly kind: 'holes'; readonly missing: number; readonly last: number }
  /** Events that it counts cannot be read. */
  | { readonly kind: 'unreadable'; readonly sequences: readonly number[]; readonly count: number }

const whereOf = (by: Projection | 'this node'): string =>
  by === 'this node' ? 'this node knows' : `the index "${by}" was made from`

export function faultText(fault: LogFault): string {
  switch (fault.kind) {
    case 'shorter':
      return `the event log ends at event ${fault.last}, and ${whereOf(fault.by)} event ${fault.known} as well: its end is lost`
    case 'changed':
      return `event ${fault.sequence} of the event log is another one than ${whereOf(fault.by)}: it is another log, or lost its end and grew again`
    case 'holes':
      return `${fault.missing} of ${fault.last} events are gone from the event log, in which nothing is ever deleted`
    case 'unreadable':
      return `${fault.count} ${fault.count === 1 ? 'event' : 'events'} of the event log cannot be read, the first at ${fault.sequences[0]}`
  }
}

export const faultHint =
  'writes are refused; put the data folder back from a backup, or see `stowage log status` and accept the loss with `stowage log accept-loss`'

export function logDamaged(fault: LogFault): AppError {
  return new AppError('LOG_DAMAGED', faultText(fault), { hint: faultHint })
}

/** How many sequences a person has accepted the loss of. */
export const missingIn = ({ holes }: LogIdentity): number =>
  holes.reduce((sum, [first, last]) => sum + last - first + 1, 0)
