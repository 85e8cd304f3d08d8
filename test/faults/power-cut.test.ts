import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { writeDurably, writeDurablySync } from '../../src/lib/durable-file.ts'
import { openNodeCli } from '../support/full-node.ts'
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
  `a folder that get has fetched is whole after a power cut, however many files are synced together${suffix}`,
  here,
  async () => {
    const disk = await powerCutDisk()
    const cli = await openNodeCli(onTestFinished)
    const names = Array.from({ length: 1_200 }, (_, i) => `f${i}`)
    await mkdir(join(cli.folder, 'in/sub'), { recursive: true })
    for (const name of names) await writeFile(join(cli.folder, 'in/sub', name), `content of ${name}`)
    const cid = (await cli.run(['add', '-r', '-q', 'in'])).stdout.trim().split('\n').at(-1) ?? ''
    expect((await cli.run(['get', cid, '-o', join(disk.folder, 'out')])).exitCode).toBe(0)
    // The same without a sync, for comparison.
    await mkdir(join(disk.folder, 'part'))
    for (const name of names) await writeFile(join(disk.folder, 'part', name), `content of ${name}`)
    await rename(join(disk.folder, 'part'), join(disk.folder, 'plain'))
    await disk.cut()
    await disk.powerUp()
    const lostOf = async (folder: string) => {
      const texts = await Promise.all(
        names.map((name) => readFile(join(disk.folder, folder, name), 'utf8').catch(() => '')),
      )
      return texts.filter((text, at) => text !== `content of ${names[at]}`).length
    }
    expect(await lostOf('out/sub')).toBe(0)
    expect(await lostOf('plain')).toBeGreaterThan(0)
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
