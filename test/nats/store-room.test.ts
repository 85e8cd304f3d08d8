import { pino } from 'pino'
import { expect, onTestFinished, test, vi } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { MiB } from '../../src/lib/units.ts'
import { connectNats } from '../../src/nats/connection.ts'
import { StoreRoom } from '../../src/nats/store-room.ts'
import { startTestNats } from '../support/nats.ts'

interface Limits {
  readonly server?: number
  readonly account?: number
  readonly diskBytes?: number
}

/** Over a server that holds nothing yet; `disk` may be changed. */
async function roomOf({ server, account, diskBytes = Number.POSITIVE_INFINITY }: Limits) {
  const limited = `accounts { A { jetstream { max_file: ${account} }, users: [ { user: a, password: a } ] } }`
  const running = await startTestNats(account === undefined ? {} : { extraConfig: limited })
  onTestFinished(() => running.stop())
  const url = account === undefined ? running.url : running.url.replace('//', '//a:a@')
  const nats = await connectNats(url, readConfig({}).nats, pino({ level: 'silent' }))
  onTestFinished(() => nats.close())
  const disk = { bytes: diskBytes }
  const room = await StoreRoom.watch({ nats, limitBytes: server, disk, reserveBytes: 8 * MiB })
  onTestFinished(() => room.close())
  return { room, disk }
}

test('on a disk that fills up blocks end first, then what adds names, and nothing else', async () => {
  const { room, disk } = await roomOf({ diskBytes: 8 * MiB })
  expect([room.refusal('blocks'), room.refusal('growth')]).toEqual([undefined, undefined])
  disk.bytes = 8 * MiB - 1
  expect(room.refusal('blocks')).toMatchObject({ code: 'STORE_FULL', hint: expect.stringContaining('RESERVE') })
  expect([room.refusal('growth'), room.hasRoomForReads()]).toEqual([undefined, true])
  disk.bytes = 4 * MiB - 1
  expect([room.refusal('growth')?.code, room.hasRoomForReads()]).toEqual(['STORE_FULL', false])
})

test.each<[string, Limits]>([
  ['the server', { server: 96 * MiB }],
  ['the account', { account: 96 * MiB }],
])('what is sent counts against the limit of %s before the server has counted it', async (_label, limits) => {
  const { room } = await roomOf(limits)
  // A sixteenth of 96 MiB is kept, which is less than the reserve of the disk.
  room.took(90 * MiB)
  expect(room.refusal('blocks')).toBeUndefined()
  room.took(1)
  expect(room.refusal('blocks')).toMatchObject({ code: 'STORE_FULL', hint: expect.stringContaining('its limit') })
  expect(room.refusal('growth')).toBeUndefined()
  room.took(3 * MiB)
  expect(room.refusal('growth')?.code).toBe('STORE_FULL')
})

test('what was sent is taken off once, however many seconds the server takes to answer', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  onTestFinished(() => void vi.useRealTimers())
  const running = await startTestNats()
  onTestFinished(() => running.stop())
  const nats = await connectNats(running.url, readConfig({}).nats, pino({ level: 'silent' }))
  onTestFinished(() => nats.close())
  let answer = Promise.resolve()
  let asked = 0
  let answered = 0
  const getAccountInfo = async () => {
    asked++
    await answer
    const info = await nats.jsm.getAccountInfo()
    answered++
    return info
  }
  const slow = { jsm: Object.assign(Object.create(nats.jsm), { getAccountInfo }) }
  const room = await StoreRoom.watch({ nats: slow, limitBytes: 96 * MiB, disk: undefined, reserveBytes: 8 * MiB })
  onTestFinished(() => room.close())
  room.took(40 * MiB)
  let goOn = (): void => undefined
  answer = new Promise((resolve) => {
    goOn = resolve
  })
  vi.advanceTimersByTime(5_000)
  goOn()
  await vi.waitFor(() => expect(answered).toBe(asked))
  await new Promise(setImmediate)
  // Nothing of it is in the store, as the server says: a sixteenth of 96 MiB is kept, and not one byte more can be taken.
  room.took(90 * MiB)
  expect(room.refusal('blocks')).toBeUndefined()
  room.took(1)
  expect(room.refusal('blocks')).toMatchObject({ code: 'STORE_FULL' })
})
