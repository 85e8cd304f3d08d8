// Loaded into a node's process (--import): it then spins when it is told to, as a fault of the program would have it.
import { isMainThread } from 'node:worker_threads'

const settled = async () => undefined

async function spinInMicrotasks() {
  for (;;) await settled()
}

function spinAtOnce() {
  for (;;);
}

if (isMainThread) {
  process.once('SIGUSR2', () => void spinInMicrotasks())
  process.once('SIGHUP', spinAtOnce)
}
