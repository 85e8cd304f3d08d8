import { expect, onTestFinished, test, vi } from 'vitest'
import { startFullNode } from '../support/full-node.ts'
import { type Fields, startPlacedNode } from '../support/placed.ts'

test.each(['on', 'off'])(
  'a node that is started to put into a store of copies tells so before it takes puts, with placement %s',
  async (placement) => {
    const first = await startPlacedNode(onTestFinished)
    expect((await first.call('POST', 'stores', { store: 'b' })).status).toBe(201)
    const storesNow = async () => (await first.call('GET', 'stores')).json.stores as readonly Fields[]
    expect(await storesNow()).toContainEqual(expect.objectContaining({ store: 'b', primary: false }))
    const env = { STOWAGE_SITE: 'home', STOWAGE_PLACEMENT: placement }
    await startFullNode(onTestFinished, { nats: first.nats, env: { ...env, STOWAGE_STORE: 'b' } })
    await vi.waitFor(async () =>
      expect(await storesNow()).toContainEqual(expect.objectContaining({ store: 'b', primary: true })),
    )
    if (placement === 'on') return
    // One that nobody knows of is swept by nobody.
    await startFullNode(onTestFinished, { nats: first.nats, env: { ...env, STOWAGE_STORE: 'z' } })
    expect((await storesNow()).map(({ store }) => store)).toEqual(['a', 'b'])
  },
  60_000,
)
