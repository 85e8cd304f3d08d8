import { expect, test } from 'vitest'
import type { Copy } from '../../src/placement/model.ts'
import { type MoveTask, moveKey, sourcesOf } from '../../src/placement/move.ts'

const at = (site: string) => ({ site, store: 'a' })
const copy = (site: string, state: Copy['state'] = 'verified'): Copy => ({
  ...at(site),
  ...{ state, verifiedAt: undefined, eventId: 'e' },
})
const task: MoveTask = {
  ...{ action: 'add', root: 'r', rootKey: 'k', to: at('here'), from: [at('far'), at('near')], rule: 'r', why: 'w' },
  ...{ correlation: 'c', causation: 'c' },
}

test('a removal has a place of its own in the queue, beside the copy that was made and not acknowledged', () => {
  expect(moveKey(task)).not.toBe(moveKey({ ...task, action: 'remove' }))
  const later: MoveTask = { ...task, from: [] }
  expect(moveKey(task)).toBe(moveKey(later))
})

test('a copy is read from those that the task names as long as they are there, else from those that are', () => {
  const named = [copy('near'), copy('new'), copy('far', 'removing')]
  expect(sourcesOf(task, named)).toEqual([at('near')])
  expect(sourcesOf(task, [copy('new'), copy('here')])).toMatchObject([{ site: 'new' }])
  expect(sourcesOf(task, [copy('far', 'failed'), copy('here')])).toEqual(task.from)
})
