import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { Stores } from '../../src/blocks/stores.ts'
import { Routes } from '../../src/placement/routes.ts'
import type { PlacementView } from '../../src/placement/view.ts'
import { startTestNats, type TestNats } from '../support/nats.ts'
import { openTestStore } from '../support/stores.ts'

let server: TestNats
beforeAll(async () => {
  server = await startTestNats()
})
afterAll(() => server.stop())

const away = { site: 'away', store: 'one', state: 'active' }

for (const [what, broken] of [
  ['where a store is', 'domainOf'],
  ['whether a site is up', 'isUp'],
] as const) {
  test(`a failure to tell ${what} is told, and ends neither the node nor the reads`, async ({ onTestFinished }) => {
    const { nats, config } = await openTestStore(server.url, onTestFinished)
    const stores = await Stores.open(nats, config.layout, config.store)
    const failure = new TypeError('unforeseen')
    const parts: Partial<PlacementView> = {
      inventory: () => ({ sites: [], stores: [away] }) as unknown as ReturnType<PlacementView['inventory']>,
      isUp: () => true,
      domainOf: (site: string) => site,
      [broken]: () => {
        throw failure
      },
    }
    const troubles: unknown[] = []
    const routes = new Routes(
      stores,
      () => parts as PlacementView,
      (error) => troubles.push(error),
    )
    // Nobody waits for it: a rejection would end the process.
    routes.refresh()
    await vi.waitFor(() => expect(troubles).toEqual([failure]))
    expect(routes.current).toEqual([])
  })
}
