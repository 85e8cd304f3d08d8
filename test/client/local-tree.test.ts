import { lutimesSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { localEntry, scanTree } from '../../src/client/local-tree.ts'
import { tarStream } from '../../src/client/tar-stream.ts'
import { unixTime } from '../../src/lib/unix-time.ts'
import { testFolder } from '../support/cli.ts'

test('times go into the upload to the nanosecond', async () => {
  const folder = await testFolder(onTestFinished)
  const tree = join(folder, 'tree')
  mkdirSync(tree)
  writeFileSync(join(tree, 'now'), 'x')
  writeFileSync(join(tree, 'old'), 'x')
  symlinkSync('now', join(tree, 'link'))
  lutimesSync(join(tree, 'old'), new Date(-1250), new Date(-1250))
  lutimesSync(join(tree, 'link'), 1_600_000_000.25, 1_600_000_000.25)
  const entries = [...scanTree(localEntry(tree, ''), { hidden: false })]
  const times = new Map(entries.map(({ path, mtime }) => [path, mtime]))
  expect(times.get('now')).toEqual(unixTime(statSync(join(tree, 'now'), { bigint: true }).mtimeNs))
  expect(times.get('old')).toEqual({ secs: -2n, nsecs: 750_000_000 })
  expect(times.get('link')).toEqual({ secs: 1_600_000_000n, nsecs: 250_000_000 })
  const parts: Uint8Array[] = []
  const exact = entries.map((entry) => ({ ...entry, mtime: { secs: 1_600_000_000n, nsecs: 123_456_789 } }))
  for await (const part of tarStream(exact, { mtime: true })) parts.push(part)
  expect(
    Buffer.concat(parts)
      .toString('latin1')
      .match(/mtime=1600000000\.123456789\n/g),
  ).toHaveLength(entries.length)
})
