import { afterAll, beforeAll, expect, test } from 'vitest'
import { placeEvents } from '../../src/placement/place-events.ts'
import { indexPlaces } from '../../src/placement/place-index.ts'
import { signal } from '../support/dags.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { SiteRig } from '../support/site-rig.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats({ syncAlways: false })
})
afterAll(() => server.stop())

const cause = { correlation: 'c', causation: 'c' }
const site = { site: 'far', jetstreamDomain: 'far', labels: {} }

test('a site that was removed stays so, in whatever order the logs have what it said before it heard of that', async ({
  onTestFinished,
}) => {
  for (const states of [
    ['active', 'removed', 'active'],
    ['removed', 'active'],
  ] as const) {
    const rig = await SiteRig.open(server.url, onTestFinished)
    for (const [i, state] of states.entries()) {
      await rig.recorder.record(placeEvents.site({ ...site, state, labels: { said: String(i) } }), cause)
    }
    const { domain, space } = rig.config.layout
    for await (const message of rig.reader.from(`${domain}.evt.*.${space}.site.>`, 1, signal)) {
      await indexPlaces([message], { placement: rig.bucket, policy: rig.bucket })
    }
    const record = JSON.parse((await rig.bucket.get('site.far'))?.value.toString('utf8') ?? '{}') as object
    expect(record).toMatchObject({ state: 'removed', labels: { said: String(states.length - 1) } })
  }
})
