import { workerData } from 'node:worker_threads'
import pino from 'pino'
import { unlessAborted } from '../lib/unless-aborted.ts'
import { serveCalls, yieldToOthers } from '../lib/worker.ts'
import { connectNats } from '../nats/connection.ts'
import type { BulkCall, BulkPart, BulkResult, BulkThreadData } from './bulk-thread.ts'
import { BulkWork } from './bulk-work.ts'
import type { CopySize } from './copy-events.ts'

const progressEveryMs = 250

yieldToOthers()
const { natsUrl, nats: config, store, limits } = workerData as BulkThreadData
// The node tells of lost connections: it has its own to the same server.
const quiet = pino({ level: 'silent' })
let opening: Promise<BulkWork> | undefined

serveCalls<BulkCall, BulkPart, BulkResult>(async (call, { signal, emit }) => {
  const work = await unlessAborted(open(), signal)
  let mended: Promise<void> | undefined
  const progress = nowAndThen((size) => emit({ kind: 'progress', size }))
  const options = {
    signal,
    onProgress: progress.tell,
    onMended: (part: Extract<BulkPart, { kind: 'mended' }>['mended']) => {
      mended = emit({ kind: 'mended', mended: part })
    },
  }
  const none = { blocks: 0, bytes: 0, newBlocks: 0 }
  try {
    switch (call.kind) {
      case 'copy':
        return await work.copy(call.job, options)
      case 'verify':
        return { ...none, ...(await work.verify(call.job, options)) }
      case 'scan':
        await work.scan(call.job, { signal, onPage: (page) => emit({ kind: 'page', page }) })
        return none
    }
  } finally {
    await mended
    await progress.last()
  }
})

/** A failure is not remembered: the next call tries again. */
function open(): Promise<BulkWork> {
  opening ??= connectNats(natsUrl, config, quiet, 'stowage-bulk').then((nats) => new BulkWork({ nats, store, limits }))
  opening.catch(() => {
    opening = undefined
  })
  return opening
}

function nowAndThen(emit: (size: CopySize) => Promise<void>) {
  let nextMs = performance.now() + progressEveryMs
  let untold: CopySize | undefined
  return {
    tell: (size: CopySize) => {
      untold = size
      if (performance.now() < nextMs) return
      nextMs = performance.now() + progressEveryMs
      untold = undefined
      // Once it was aborted nobody listens.
      emit(size).catch(() => undefined)
    },
    /** Also of work that failed. */
    last: async () => {
      if (untold !== undefined) await emit(untold).catch(() => undefined)
    },
  }
}
