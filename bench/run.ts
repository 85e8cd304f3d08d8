import { parseArgs } from 'node:util'
import { GiB, MiB, parseBytes } from '../src/lib/units.ts'
import { add } from './add.ts'
import { car } from './car.ts'
import { events } from './events.ts'
import { gateway } from './gateway.ts'
import { get } from './get.ts'
import { createBench, type Question } from './harness/bench.ts'
import { closeAll, closeOnSignals } from './harness/cleanup.ts'
import { names as namesBench } from './names.ts'
import { placement } from './placement.ts'
import { putGet1k } from './put-get-1k.ts'
import { replicate } from './replicate.ts'
import { scrub } from './scrub.ts'
import { small } from './small.ts'
import { tiny } from './tiny.ts'

/** `npm run bench [-- names… --runs N --size 1GiB --quick]`: see README.md. */
const questions: Readonly<Record<string, Question>> = {
  add,
  small,
  car,
  get,
  tiny,
  gateway,
  'put-get-1k': putGet1k,
  events,
  names: namesBench,
  scrub,
  replicate,
  placement,
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string' },
    size: { type: 'string' },
    quick: { type: 'boolean', default: false },
    // Read by names.ts.
    names: { type: 'string' },
  },
})
const names = positionals.length > 0 ? positionals : Object.keys(questions)
const unknown = names.filter((name) => questions[name] === undefined)
const sizeBytes = values.size === undefined ? (values.quick ? 64 * MiB : GiB) : parseBytes(values.size)
const runs = Number(values.runs ?? (values.quick ? 1 : 3))
if (unknown.length > 0 || sizeBytes === undefined || !(runs >= 1)) {
  console.error(
    `usage: npm run bench [-- names… --runs N --size 1GiB --quick]; names: ${Object.keys(questions).join(', ')}`,
  )
  process.exit(2)
}
closeOnSignals()
const bench = await createBench({ runs, sizeBytes })
for (const name of names) {
  try {
    await questions[name]?.(bench)
  } finally {
    await closeAll()
  }
}
