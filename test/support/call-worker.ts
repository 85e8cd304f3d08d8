import { AppError } from '../../src/errors.ts'
import { serveCalls } from '../../src/lib/worker.ts'

/** What the thread of test/lib/worker.test.ts is asked. */
export type TestCall =
  | { readonly kind: 'count'; readonly to: number }
  | { readonly kind: 'fail'; readonly code: 'BLOCK_LOST' | undefined }
  | { readonly kind: 'wait' }
  | { readonly kind: 'crash' }
  | { readonly kind: 'emitted' }

let emitted = 0

serveCalls<TestCall, number, number>(async (call, { signal, emit }) => {
  switch (call.kind) {
    case 'count':
      for (let i = 1; i <= call.to; i++) {
        emitted = i
        await emit(i)
      }
      return call.to
    case 'fail': {
      const cause = new AppError('STORE_UNAVAILABLE', 'why', { limit: 'dag_depth' })
      throw call.code === undefined
        ? new Error('of ours', { cause })
        : new AppError(call.code, 'gone', { cause, hint: 'h' })
    }
    case 'wait':
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
      throw new Error('ended by the signal')
    case 'crash':
      setImmediate(() => {
        throw new Error('the thread falls')
      })
      return new Promise<number>(() => undefined)
    case 'emitted':
      return emitted
  }
})
