import { expect, test } from 'vitest'
import { Wholeness } from '../../src/names/wholeness.ts'

const refused = { code: 'STORE_UNAVAILABLE', hint: expect.any(String) }

test('what was read of an index is taken only where it was whole from the beginning to the end', async () => {
  const whole = new Wholeness()
  const read = (meanwhile: () => void) =>
    whole.during('names', async () => {
      meanwhile()
      return 'read'
    })
  expect(await read(() => undefined)).toBe('read')
  // Dropped meanwhile; dropped and made anew meanwhile.
  await expect(read(() => whole.set(['names']))).rejects.toMatchObject(refused)
  await expect(read(() => undefined)).rejects.toMatchObject(refused)
  whole.set([])
  // An audit that found nothing to make anew.
  expect(await read(() => whole.set([]))).toBe('read')
  const madeAnew = () => {
    whole.set(['names'])
    whole.set([])
  }
  await expect(read(madeAnew)).rejects.toMatchObject(refused)
  expect(await read(() => undefined)).toBe('read')
})

test('no index is asked from a write that it did not take until the log was folded, and the log is asked instead', async () => {
  const whole = new Wholeness()
  let told = 0
  whole.onBehind = () => told++
  whole.fellBehind()
  whole.fellBehind()
  expect([told, whole.mending, whole.asksLog('names')]).toEqual([1, ['names', 'refs', 'ipns'], true])
  for (const index of ['names', 'refs', 'ipns'] as const)
    await expect(whole.during(index, async () => 1)).rejects.toMatchObject(refused)
  whole.caughtUp()
  expect([whole.mending, await whole.during('refs', async () => 1)]).toEqual([[], 1])
})
