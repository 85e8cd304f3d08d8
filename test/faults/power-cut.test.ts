import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { writeDurably, writeDurablySync } from '../../src/lib/durable-file.ts'
import { noPowerCuts, PowerCutDisk } from '../support/power-cut-disk.ts'
import { powerCutRun } from './power-cut-run.ts'

const whyNot = await noPowerCuts()
const here = { skip: whyNot !== undefined, timeout: 300_000 }
const suffix = whyNot === undefined ? '' : ` (skipped: ${whyNot})`

async function powerCutDisk(): Promise<PowerCutDisk> {
  const disk = await PowerCutDisk.make(64)
  onTestFinished(() => disk.remove())
  return disk
}

test(
  `what writeDurably wrote is whole after a power cut, and what a rename alone wrote is not${suffix}`,
  here,
  async () => {
    const disk = await powerCutDisk()
    const at = (name: string) => join(disk.folder, name)
    await writeDurably(at('replaced'), 'old')
    await writeDurably(at('replaced'), 'new', { mode: 0o600 })
    await writeDurably(at('made'), 'made', { existing: 'keep' })
    writeDurablySync(at('at-once'), 'made', 0o600)
    await writeFile(at('plain.new'), 'lost')
    await rename(at('plain.new'), at('plain'))
    await disk.cut()
    await disk.powerUp()
    const after = (name: string) => readFile(at(name), 'utf8').catch((error: NodeJS.ErrnoException) => error.code)
    expect([await after('replaced'), await after('made'), await after('at-once')]).toEqual(['new', 'made', 'made'])
    // Empty, or not there at all: it depends on what the journal had.
    expect(['', 'ENOENT']).toContain(await after('plain'))
  },
)

test(
  `after power cuts all that was acknowledged is there, and the files beside it are whole${suffix}`,
  here,
  async () => {
    const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
    const result = await powerCutRun({ natsServer: inject('natsServer'), seed, cutsMax: 3, sync: 'always' })
    expect({ seed, ...result }).toMatchObject({ cuts: 3, lost: [], wrong: [], files: [], notStarted: [] })
    expect(result.acked).toBeGreaterThan(0)
  },
)

test(`the same cuts lose what a server acknowledged before it synced${suffix}`, here, async () => {
  const result = await powerCutRun({ natsServer: inject('natsServer'), seed: 1, cutsMax: 1, sync: 'late' })
  expect(result.acked).toBeGreaterThan(0)
  expect(result.lost.length + result.notStarted.length).toBeGreaterThan(0)
})
