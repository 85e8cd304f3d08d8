// Loaded into a node's process (--import): on SIGUSR2 it collects its garbage and says what is left, as a line on stdout;
// and the most CPU time (ms) that the main thread used between two turns of the event loop, which is how long it kept everybody
// waiting by its own doing, on however busy a machine. (The threads beside it, which hash, compress and collect garbage, keep
// nobody waiting.)
import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isMainThread } from 'node:worker_threads'

/** CPU time of it so far; of all threads where the system does not tell them apart. */
function mainThreadMs() {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ', 1)[0]) / 1e6
  } catch {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  }
}

if (isMainThread) {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  let busiestMs = 0
  let beforeMs = mainThreadMs()
  setInterval(() => {
    const nowMs = mainThreadMs()
    busiestMs = Math.max(busiestMs, nowMs - beforeMs)
    beforeMs = nowMs
  }, 5).unref()
  process.on('SIGUSR2', () => {
    const busiest = Math.round(busiestMs)
    collect()
    // What finalizers let go of goes with the next one.
    setImmediate(() => {
      collect()
      const { heapUsed, rss, external, arrayBuffers } = process.memoryUsage()
      const resources = {}
      for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1
      process.stdout.write(
        `${JSON.stringify({ collected: { heapUsed, rss, external, arrayBuffers, busiest, resources } })}\n`,
      )
      // The collections themselves do not count.
      setImmediate(() => {
        beforeMs = mainThreadMs()
        busiestMs = 0
      })
    })
  })
}
