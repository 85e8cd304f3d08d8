import { rm } from 'node:fs/promises'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { type Damage, damageOne, layFolder, type Place } from './damage-run.ts'

let laid: Awaited<ReturnType<typeof layFolder>>

beforeAll(async () => {
  laid = await layFolder(inject('natsServer'))
}, 90_000)
afterAll(async () => {
  if (laid !== undefined) await rm(laid.folder, { recursive: true, force: true, maxRetries: 10 })
})

const cases: readonly (Damage & { readonly place: Place; readonly outcome: string })[] = [
  { stream: 'stowage_events', kind: 'flip', index: false, place: 0.5, outcome: 'refused' },
  // The server does not notice, and gives all but this event.
  { stream: 'stowage_events', kind: 'flip', index: true, place: 'object.deleted.', outcome: 'refused' },
  { stream: 'stowage_events', kind: 'delete', index: true, place: 0.5, outcome: 'refused' },
  { stream: 'KV_stowage_deleted', kind: 'flip', index: false, place: 0.5, outcome: 'mended' },
  { stream: 'KV_stowage_deleted', kind: 'delete', index: true, place: 0.5, outcome: 'mended' },
  { stream: 'KV_stowage_names', kind: 'flip', index: false, place: 0.5, outcome: 'mended' },
  // The server goes on telling the sequence of what it has lost.
  { stream: 'KV_stowage_keys', kind: 'cut', index: true, place: 0.3, outcome: 'told' },
  { stream: 'stowage_dead', kind: 'cut', index: true, place: 0.3, outcome: 'told' },
  // Then nobody knows what was deleted.
  { stream: 'KV_stowage_deleted', kind: 'delete', index: true, withLog: true, place: 0, outcome: 'refused' },
  { stream: 'KV_stowage_names', kind: 'delete', index: true, withLog: true, place: 0, outcome: 'refused' },
]

for (const { place, outcome, ...damage } of cases) {
  const { stream, kind, index, withLog = false } = damage
  test(`${stream}${withLog ? ' and the log' : ''}, ${kind}${index ? '' : ' without index.db'}: ${outcome}, and told`, async () => {
    expect(await damageOne(laid, damage, inject('natsServer'), place)).toMatchObject({ outcome })
  }, 90_000)
}
