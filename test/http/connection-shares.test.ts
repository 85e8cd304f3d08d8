import { expect, test } from 'vitest'
import { connectionShares, fittingConnections } from '../../src/http/connection-shares.ts'

const wanted = { gateway: 16_384, api: 4_096 }

test('listeners get the connections that they want where files can be opened for all of them', () => {
  expect(connectionShares(wanted, 100_000)).toBe(wanted)
  expect(connectionShares(wanted, undefined)).toBe(wanted)
})

test.for([64, 256, 1_024, 4_096, 20_000])(
  'of %i files some are left for the store, and each listener has its own share',
  (filesMax) => {
    const { gateway, api } = connectionShares(wanted, filesMax)
    expect(gateway + api).toBeLessThanOrEqual(Math.max(2, filesMax - 64))
    expect(Math.min(gateway, api)).toBeGreaterThanOrEqual(1)
    if (filesMax > 64) expect(gateway).toBeGreaterThan(api)
  },
)

test('what one listener does not want, the other one may have', () => {
  expect(connectionShares({ gateway: 100, api: 4_096 }, 1_024)).toEqual({ gateway: 100, api: 796 })
  expect(connectionShares({ gateway: 16_384, api: 10 }, 1_024)).toEqual({ gateway: 886, api: 10 })
})

test('that there are fewer than set is known, and nothing is said where they fit', async () => {
  expect(await fittingConnections({ gateway: 1, api: 1 })).toEqual({ gateway: 1, api: 1 })
  const never = Number.MAX_SAFE_INTEGER
  const shares = await fittingConnections({ gateway: never, api: never })
  // Where nobody tells how many files there may be, it stays as set.
  if (shares.gateway < never) expect(shares.openFilesMax).toBeGreaterThan(shares.gateway)
})
