import type { CID } from 'multiformats/cid'
import type { PutResult, PutWays } from '../../src/content/put.ts'
import type { Context, EventFeed, OutcomeOf, Upload, Verbs } from '../../src/content/verbs.ts'
import { AppError } from '../../src/errors.ts'

const needsALog = (): never => {
  throw new AppError('INTERNAL', 'there is no event log in this test')
}

/** `put` without a log behind it, for tests of what lies before it; the other verbs need one. */
export function verbsOver(put: PutWays): Verbs {
  const store = (upload: Upload, signal: AbortSignal): Promise<PutResult<CID | undefined>> => {
    switch (upload.kind) {
      case 'file':
        return put.file(upload.source, upload.options)
      case 'directory':
        return put.directory(upload.entries, upload.options)
      case 'car':
        return put.car(upload.source, { signal, partial: upload.partial ?? false })
    }
  }
  return {
    put: async <U extends Upload>(context: Context, upload: U, { signal }: { readonly signal: AbortSignal }) =>
      ({
        ...(await store(upload, signal)),
        eventId: context.id,
        sequence: 1,
        repeated: false,
      }) as OutcomeOf<U>,
    changeNames: needsALog,
    renameName: needsALog,
    undoName: needsALog,
    deleteObject: needsALog,
    resolveName: needsALog,
    nameHistory: needsALog,
    listNames: needsALog,
    namesOf: needsALog,
  }
}

export const noFeed: EventFeed = { follow: needsALog, last: needsALog, sequenceBefore: needsALog }
