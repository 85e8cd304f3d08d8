import { openSync, readSync, writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'

// node --import ./bench/harness/loop-watch.mjs dist/main.js serve: writes to LOOP_WATCH_FILE, twice a second, how long the event
// loop was blocked at most since SIGUSR2 (or the start): by the clock, and in time of the processor, which a busy machine
// does not change.
const file = process.env.LOOP_WATCH_FILE
const tickMs = 2
if (file !== undefined) {
  const delays = monitorEventLoopDelay({ resolution: tickMs })
  delays.enable()
  const stat = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r')
  const buffer = Buffer.alloc(64)
  const cpuMs = () => Number(buffer.toString('latin1', 0, readSync(stat, buffer, 0, 64, 0)).split(' ')[0]) / 1e6
  let last = cpuMs()
  let longestCpuMs = 0
  const tick = setInterval(() => {
    const now = cpuMs()
    longestCpuMs = Math.max(longestCpuMs, now - last)
    last = now
  }, tickMs)
  const write = setInterval(() => {
    const rssMiB = Math.round(process.memoryUsage.rss() / 2 ** 20)
    writeFileSync(
      file,
      JSON.stringify({ longestMs: Math.round(delays.max / 1e6), longestCpuMs: Math.round(longestCpuMs), rssMiB }),
    )
  }, 500)
  process.on('SIGUSR2', () => {
    delays.reset()
    longestCpuMs = 0
  })
  tick.unref()
  write.unref()
}
