import { connect } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { MiB } from '../../src/lib/units.ts'
import { bombs } from '../support/bombs.ts'
import { settled } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'

// Few bytes that ask for much, over a bare socket: a first answer or a refusal costs little, and a
// client that leaves ends the work.

/** What is allowed is 1 s; a machine that is busy with other tests may need several times as long. */
const cpuMsMax = 5000
const rssMax = 64 * MiB
/** Of what never ends, so much is taken. */
const takenBytes = 16 * 1024

type Outcome = number | 'cut' | 'goes on'

async function ask(port: number, path: string): Promise<Outcome> {
  const socket = connect(port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => undefined)
  const accept = path.endsWith('/') ? 'text/html' : '*/*'
  socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: ${accept}\r\nConnection: close\r\n\r\n`)
  const parts: Buffer[] = []
  let bytes = 0
  const ended = new Promise<'ended'>((resolve) => socket.once('close', () => resolve('ended')))
  const enough = new Promise<'enough'>((resolve) => {
    socket.on('data', (part: Buffer) => {
      parts.push(part)
      bytes += part.byteLength
      if (bytes > takenBytes) resolve('enough')
    })
  })
  const how = await Promise.race([ended, enough])
  const answer = Buffer.concat(parts).toString('latin1')
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1])
  // Pages and blocks are taken whole.
  if (how === 'enough' && !path.endsWith('/') && !path.includes('format=raw')) {
    socket.destroy()
    await ended
    return 'goes on'
  }
  if (how === 'enough') await ended
  const chunked = /\r\ntransfer-encoding: chunked\r\n/i.test(answer)
  return chunked && !Buffer.concat(parts).toString('latin1').endsWith('0\r\n\r\n') ? 'cut' : status
}

test.each(
  bombs.flatMap((bomb) =>
    bomb.asks.map(([target, outcomes]) => [bomb.group, bomb.what, target, outcomes, bomb] as const),
  ),
)(
  '%i: %s: %s is answered with %j within bounds, and the work ends with its client',
  async (_, __, target, outcomes, bomb) => {
    const { port, store } = await openGateway(onTestFinished)
    const cid = await bomb.build(store)
    const rss = process.memoryUsage().rss
    const cpu = process.cpuUsage()
    expect(await ask(port, `/ipfs/${cid}${target}`)).toBeOneOf([...outcomes])
    const { user, system } = process.cpuUsage(cpu)
    expect((user + system) / 1000).toBeLessThan(cpuMsMax)
    expect(process.memoryUsage().rss - rss).toBeLessThan(rssMax)
    await expect
      .poll(
        async () => {
          const asked = store.asked.length
          for (let turn = 0; turn < 10; turn++) await settled()
          return store.asked.length - asked
        },
        { timeout: cpuMsMax },
      )
      .toBe(0)
  },
)
