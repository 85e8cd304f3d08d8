import { Admission, type AdmissionLimits } from './admission.ts'
import { type TimeLimits, TimeWatch } from './time-watch.ts'
import type { Work } from './work.ts'

/** The requests of one listener that are worked on: how many, whose, and for how long. */
export class Requests {
  readonly #admission: Admission
  readonly #timeWatch: TimeWatch

  constructor(limits: AdmissionLimits & TimeLimits) {
    this.#admission = new Admission(limits)
    this.#timeWatch = new TimeWatch(limits)
  }

  /**
   * From here on the connection is one that waits for us. Every work that has begun is to be ended, also one that is refused.
   * @param options.timed whether it ends when nothing comes for it, and when it takes too long @throws AppError RATE_LIMITED
   */
  begin(work: Work, { timed }: { readonly timed: boolean }): void {
    work.connection.working++
    this.#admission.enter(work.client)
    work.admitted = true
    if (timed) this.#timeWatch.add(work)
  }

  end(work: Work): void {
    work.connection.working--
    this.release(work)
    this.#timeWatch.remove(work)
  }

  /** The request goes on, and takes no place any more. */
  release(work: Work): void {
    if (work.admitted) this.#admission.leave(work.client)
    work.admitted = false
  }

  close(): void {
    this.#timeWatch.close()
  }
}
