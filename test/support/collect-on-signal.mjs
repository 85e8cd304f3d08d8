// Loaded into a node's process (--import): on SIGUSR2 it collects its garbage and says what is left, as a line on stdout;
// and the most CPU time (ms, of all threads) that passed between two turns of the event loop, which is how long it kept
// everybody waiting by its own doing, on however busy a machine.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isMainThread } from 'node:worker_threads'

if (isMainThread) {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  let busiestMs = 0
  let before = process.cpuUsage()
  setInterval(() => {
    const { user, system } = process.cpuUsage(before)
    before = process.cpuUsage()
    busiestMs = Math.max(busiestMs, (user + system) / 1000)
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
        before = process.cpuUsage()
        busiestMs = 0
      })
    })
  })
}
