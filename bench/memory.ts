import { parseArgs } from 'node:util'
import { formatBytes, MiB, parseBytes } from '../src/lib/units.ts'
import { createBench } from './harness/bench.ts'
import { closeAll, closeOnSignals } from './harness/cleanup.ts'
import { type MemoryCurve, slowDownloadCurve, uploadCurve } from './harness/memory-curve.ts'
import { startStowage } from './harness/stowage.ts'

/** `npm run bench:memory [-- --size 10GiB --cap 256MiB --reader 64MiB]`: exit 1 when the node needs more than the cap. */
const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '10GiB' },
    cap: { type: 'string', default: '256MiB' },
    /** What the slow reader takes in a second. */
    reader: { type: 'string', default: '64MiB' },
  },
})
const [sizeBytes, capBytes, readerBytes] = [values.size, values.cap, values.reader].map(parseBytes)
if (sizeBytes === undefined || capBytes === undefined || readerBytes === undefined) {
  console.error('usage: npm run bench:memory [-- --size 10GiB --cap 256MiB --reader 64MiB]')
  process.exit(2)
}
closeOnSignals()
const bench = await createBench({ runs: 1, sizeBytes })
let highestBytes = 0
try {
  const stowage = await startStowage(bench)
  const upload = await uploadCurve(stowage.node(), sizeBytes)
  print(`upload of ${formatBytes(sizeBytes)}`, upload)
  const path = `/ipfs/${upload.cid}`
  print(
    `download of ${formatBytes(sizeBytes)} at ${formatBytes(readerBytes)}/s`,
    await slowDownloadCurve(stowage.node(), path, readerBytes),
  )
} finally {
  await closeAll()
}
const isWithin = highestBytes <= capBytes
console.log(
  `highest ${formatBytes(highestBytes)}, ${isWithin ? 'within' : 'ABOVE'} the cap of ${formatBytes(capBytes)}`,
)
process.exitCode = isWithin ? 0 : 1

/** Some thirty lines: the highest sample of each stretch. */
function print(title: string, { samples, seconds, maxBytes }: MemoryCurve): void {
  highestBytes = Math.max(highestBytes, maxBytes)
  console.log(`${title}: ${seconds.toFixed(1)} s, RSS of the node at most ${formatBytes(maxBytes)}`)
  const stretch = Math.ceil(samples.length / 30)
  for (let i = 0; i < samples.length; i += stretch) {
    const part = samples.slice(i, i + stretch)
    const rssBytes = Math.max(...part.map((sample) => sample.rssBytes))
    const bar = '█'.repeat(Math.round(rssBytes / (8 * MiB)))
    console.log(
      `  ${(part.at(-1)?.seconds ?? 0).toFixed(1).padStart(7)} s  ${formatBytes(rssBytes).padStart(9)}  ${bar}`,
    )
  }
}
