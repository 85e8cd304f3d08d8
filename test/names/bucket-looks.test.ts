import { afterAll, beforeAll, expect, test } from 'vitest'
import { BucketLooks } from '../../src/names/bucket-looks.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { freshDomain, openTestVerbs, signal } from '../support/verbs.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

test('a bucket that is gone or sealed has to be made anew, and one that another node has made anew is told once', async ({
  onTestFinished,
}) => {
  const domain = freshDomain()
  const looks = []
  for (let i = 0; i < 2; i++) {
    const { nats, names } = await openTestVerbs(server.url, onTestFinished, { domain, projector: false })
    looks.push({ nats, looks: new BucketLooks(nats, names.buckets, 5_000) })
  }
  const [here, there] = looks.map((one) => one.looks)
  const streams = looks[0]?.nats.jsm.streams
  if (here === undefined || there === undefined || streams === undefined) throw new Error('no nodes')
  for (const one of [here, there]) expect(await one.at('names')).toEqual({ madeAnew: false })
  await here.remake('names')
  expect(await here.at('names')).toEqual({ madeAnew: false })
  expect(await there.at('names')).toEqual({ madeAnew: true })
  expect(await there.at('names')).toEqual({ madeAnew: false })
  const stream = `KV_${domain}_names`
  const { config } = await streams.info(stream)
  await streams.update(stream, { ...config, ...{ sealed: true } })
  expect(await here.at('names')).toMatchObject({ trouble: expect.stringContaining('sealed') })
  expect(await here.within('names', signal)).toContain('sealed')
  await streams.delete(stream)
  expect(await here.at('names')).toMatchObject({ trouble: 'it was gone' })
  expect(await here.within('names', signal)).toBe('it was gone')
  await here.remake('names')
  expect(await here.within('names', signal)).toBeUndefined()
})
