import type { Logger } from 'pino'
import { isAppError } from '../errors.ts'

interface Fault {
  readonly kind: string
}

interface MendedIndexes {
  readonly remade: readonly { readonly index: string; readonly reason: string }[]
  readonly differences: readonly { readonly index: string; readonly key: string; readonly kind: string }[]
}

const examplesMax = 10

/**
 * What is told of the event log, and of the indexes that are folded from it.
 * @param isOver whether the store was left: that nothing answers any more is no news
 */
export function logWatchLog(log: Logger, textOf: (fault: never) => string, isOver: () => boolean) {
  const about = log.child({ part: 'log' })
  return {
    onFault: (fault: Fault | undefined) => {
      if (fault === undefined) about.info('the event log is whole again: writes are taken')
      else about.error({ fault, hint: 'see `stowage log status`' }, `writes are refused: ${textOf(fault as never)}`)
    },
    onAdopted: (epoch: string) =>
      about.warn({ epoch }, 'the event log had lost its identity, not its events: it got it back'),
    onMended: ({ remade, differences }: MendedIndexes) => {
      for (const { index, reason } of remade)
        about.warn({ index, reason }, `${index} was made anew from the event log: ${reason}`)
      if (differences.length === 0) return
      const examples = differences.slice(0, examplesMax)
      about.warn({ differences: differences.length, examples }, 'indexes were not what the event log says, and are now')
    },
    onRemade: (index: string, reason: string) =>
      about.warn({ index, reason }, `${index} is folded anew from the event log: ${reason}`),
    onDamaged: (stream: string, what: string) =>
      about.error(
        { stream, hint: 'it is not folded from the event log: see docs/damage.md' },
        `${stream} is damaged: ${what}`,
      ),
    onRestored: (stream: string, how: string) => about.warn({ stream }, `${stream}: ${how}`),
    onPlacementTrouble: (err: unknown) => {
      if (!isOver() && !isAppError(err, 'LOG_DAMAGED')) log.warn({ err, part: 'placement' }, 'placement met trouble')
    },
    onTrouble: (err: unknown) => {
      if (!isOver()) about.warn({ err }, 'the indexes could not be looked at; it is tried again')
    },
  }
}
