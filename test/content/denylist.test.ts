import { createHash } from 'node:crypto'
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { blake3 } from '@noble/hashes/blake3.js'
import { base32 } from 'multiformats/bases/base32'
import { base36 } from 'multiformats/bases/base36'
import { base58btc } from 'multiformats/bases/base58'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, onTestFinished, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { Denials } from '../../src/content/denylist.ts'
import { type DenylistReport, readDenylists, watchDenylist } from '../../src/content/denylist-file.ts'

const cidOf = (text: string, codec = 0x70) => hashBlock(Buffer.from(text), codec).cid
const base58 = (cid: CID) => base58btc.encode(cid.multihash.bytes).slice(1)
const sha256 = (text: string) => createHash('sha256').update(text).digest()
/** As lists write the hash of something: a bare multihash. */
const doubled = (text: string) => base58btc.encode(Digest.create(0x12, sha256(text)).bytes).slice(1)

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'stowage-deny-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

async function listOf(...lines: readonly string[]) {
  const file = join(folder(), 'a.deny')
  writeFileSync(file, `${lines.join('\n')}\n`)
  return readDenylists([file])
}

async function pathsOf(...lines: readonly string[]) {
  const { list, report } = await listOf(...lines)
  expect(report.problems).toEqual([])
  return (cid: CID, path = '') => list.rulingOfPath(cid, path === '' ? [] : path.split('/'))?.deny ?? false
}

test('a rule for a CID is one for its multihash, and does not speak of the paths below it', async () => {
  const cid = cidOf('a')
  const denies = await pathsOf(`/ipfs/${cid}`)
  for (const same of [cid, cidOf('a', 0x55), cidOf('a', 0x71), CID.createV0(cid.multihash as never)]) {
    expect(denies(same)).toBe(true)
  }
  expect([denies(cid, 'sub'), denies(cidOf('b')), denies(CID.parse('bafkqaaa'))]).toEqual([false, false, false])
})

test.each<[string, string, readonly string[], readonly string[]]>([
  ['everything', '/*', ['', 'a', 'a/b', 'z'], []],
  ['a beginning', '/test*', ['test', 'test2', 'test/one'], ['', 'tes', 'one/test']],
  ['a beginning, written with a slash', '/test/*', ['test', 'test2', 'test/one'], ['', 'tes', 'one/test']],
  ['one path', '/a/b', ['a/b'], ['', 'a', 'a/b/c', 'a/bc']],
  ['one path, written with a slash at its end', '/a/b/', ['a/b'], ['a/b/c']],
  ['a path with escapes', '/a%20b/%C4%85', ['a b/ą'], ['a%20b/ą']],
])('a rule with %s denies just that', async (_, rule, denied, free) => {
  const cid = cidOf('a')
  const denies = await pathsOf(`/ipfs/${cid}${rule}`)
  expect(denied.filter((path) => !denies(cid, path))).toEqual([])
  expect(free.filter((path) => denies(cid, path))).toEqual([])
})

test('the last rule that matches counts, so exceptions come after what they except', async () => {
  const cid = cidOf('a')
  const rules = ['/x*', '!/x-not', '!/x/not', '!/x/free*', '/x/free/again']
  const denies = await pathsOf(...rules.map((rule) => rule.replace('/', `/ipfs/${cid}/`)))
  expect(['x', 'x2', 'x/other', 'x/free/again'].map((path) => denies(cid, path))).toEqual([true, true, true, true])
  expect(['x-not', 'x/not', 'x/free', 'x/free2', 'x/free/1'].map((path) => denies(cid, path))).toEqual(
    Array(5).fill(false),
  )
})

test('hashed rules: a multihash of a multihash, with a path or without, by any function', async () => {
  const a = cidOf('a')
  const b = cidOf('b')
  const c = cidOf('c')
  const byBlake3 = base58btc.encode(Digest.create(0x1e, blake3(Buffer.from(`${base58(c)}/p`))).bytes).slice(1)
  const denies = await pathsOf(`//${doubled(base58(a))}`, `//${doubled(`${base58(b)}/p/q`)}`, `//${byBlake3}`)
  expect([denies(a), denies(cidOf('a', 0x55)), denies(a, 'p')]).toEqual([true, true, false])
  expect([denies(b), denies(b, 'p/q'), denies(cidOf('b', 0x55), 'p/q'), denies(b, 'p')]).toEqual([
    false,
    true,
    true,
    false,
  ])
  expect([denies(c), denies(c, 'p'), denies(c, 'p2')]).toEqual([false, true, false])
})

test('hashed rules of the old form are for one CID as it is written, and can be taken back', async () => {
  const [a, b] = [cidOf('a'), cidOf('b')]
  const hex = (text: string) => sha256(text).toString('hex')
  const denies = await pathsOf(`//${hex(`${a}/`)}`, `//${hex(`${a}/path`)}`, `//${hex(`${b}/`)}`, `!//${hex(`${b}/`)}`)
  expect([denies(a), denies(a, 'path'), denies(a, 'path2'), denies(cidOf('a', 0x55))]).toEqual([
    true,
    true,
    false,
    false,
  ])
  expect(denies(b)).toBe(false)
})

test('names: domains also as one label, keys in every spelling, hashed as well', async () => {
  const key = CID.createV1(
    0x72,
    Digest.create(0, Buffer.concat([Buffer.from('0801122000', 'hex'), Buffer.alloc(31, 7)])),
  )
  const other = CID.createV1(0x72, Digest.create(0x12, sha256('key')))
  const { list } = await listOf(
    '/ipns/Domain.example',
    '/ipns/second.example/path',
    `/ipns/${key.toString(base36)}`,
    `//${doubled('/ipns/third.example')}`,
    `//${sha256('fourth.example/').toString('hex')}`,
    `//${doubled(base58(other))}`,
  )
  const denies = (name: string, path = '') => list.rulingOfName(name, path === '' ? [] : [path])?.deny ?? false
  expect(['domain.example', 'DOMAIN.example.', 'domain-example'].map((name) => denies(name))).toEqual([
    true,
    true,
    true,
  ])
  expect([denies('domain--example'), denies('sub.domain.example')]).toEqual([false, false])
  expect([denies('second.example', 'path'), denies('second.example'), denies('second.example', 'path2')]).toEqual([
    true,
    false,
    false,
  ])
  expect([key.toString(base36), key.toString(base32), base58(key)].map((name) => denies(name))).toEqual([
    true,
    true,
    true,
  ])
  expect(['third.example', 'third-example', 'fourth.example', base58(other)].map((name) => denies(name))).toEqual([
    true,
    true,
    true,
    true,
  ])
  expect(denies('fifth.example')).toBe(false)
})

test('what is asked: a denied root denies what is below it, but for later exceptions; the reason gives the code', async () => {
  const [a, b] = [cidOf('a'), cidOf('b')]
  const { list } = await listOf(
    'version: 1',
    'hints:',
    '  gateway_status: 451 # for legal reasons',
    '---',
    `/ipfs/${a}/*`,
    `!/ipfs/${a}/free`,
    `/ipfs/${b} gateway_status:410`,
    '/ipns/a.example',
  )
  const denials = new Denials()
  denials.checkPath(a, [])
  denials.use(list)
  const legally = expect.objectContaining({ code: 'CONTENT_DENIED_LEGALLY' })
  expect(() => denials.checkPath(a, ['x'])).toThrow(legally)
  expect(() => denials.checkPath(b, ['x'])).toThrow(expect.objectContaining({ code: 'CONTENT_DENIED' }))
  expect(() => denials.checkName('a.example', ['x'])).toThrow(legally)
  denials.checkPath(a, ['free'])
  // The block itself is needed on the way to the exception.
  denials.checkBlock(a)
  expect(() => denials.checkBlock(b)).toThrow(expect.objectContaining({ code: 'CONTENT_DENIED' }))
})

test('a list without a header, comments, lines that are no rules and lines without an end', async () => {
  const { list, report } = await listOf(
    '# comment',
    '',
    'nonsense',
    '/ipfs/nonsense',
    '/other/x',
    '//tooshort',
    `/ipfs/${cidOf('a')}/%zz`,
    `/ipfs/${cidOf('b')} # a comment is not a hint`,
    'x'.repeat(3 << 20),
    `/ipfs/${cidOf('c')}`,
  )
  expect([report.rules, report.problemCount]).toEqual([2, 6])
  expect(report.problems[0]).toMatch(/a\.deny:3: /)
  expect(report.problems.at(-1)).toMatch(/a\.deny:9: it has more than 2097152 bytes/)
  expect(list.rulingOfPath(cidOf('c'), [])?.deny).toBe(true)
  await expect(listOf('version: 2', '---')).rejects.toThrow('version 2')
  const bare = await listOf('---', `/ipfs/${cidOf('a')}`)
  expect(bare.report).toMatchObject({ rules: 1, problems: [] })
})

test('a header above 1 MiB is none, and its lines are told as no rules', async () => {
  const { report } = await listOf(...Array<string>(300).fill('a: '.padEnd(8192, 'b')), '---', `/ipfs/${cidOf('a')}`)
  expect([report.rules, report.problemCount, report.problems.length]).toEqual([1, 301, 20])
})

test('lists are read again when they change; one that cannot be read leaves those before in force', async () => {
  const path = folder()
  const file = join(path, 'b.deny')
  const [a, b] = [cidOf('a'), cidOf('b')]
  writeFileSync(file, `/ipfs/${a}\n`)
  writeFileSync(join(path, 'ignored.txt'), `/ipfs/${b}\n`)
  const denials = new Denials()
  const reports: DenylistReport[] = []
  const failures: unknown[] = []
  const watch = await watchDenylist(path, {
    denials,
    loaded: (report) => reports.push(report),
    failed: (error) => failures.push(error),
  })
  onTestFinished(() => watch.close())
  const denies = (cid: CID) => {
    try {
      denials.checkPath(cid, [])
      return false
    } catch {
      return true
    }
  }
  expect([denies(a), denies(b)]).toEqual([true, false])
  await watch.look()
  expect(reports).toHaveLength(1)
  appendFileSync(file, `/ipfs/${b}\n`)
  await watch.look()
  expect([denies(a), denies(b)]).toEqual([true, true])
  // Files count in the order of their names.
  writeFileSync(join(path, 'c.deny'), `!/ipfs/${a}\n`)
  await watch.look()
  expect([denies(a), denies(b), reports.at(-1)]).toMatchObject([false, true, { rules: 3, files: 2 }])
  writeFileSync(join(path, 'd.deny'), 'version: 7\n---\n')
  await watch.look()
  expect([failures.length, denies(b)]).toEqual([1, true])
  rmSync(file)
  rmSync(join(path, 'd.deny'))
  await watch.look()
  expect([denies(b), reports.at(-1)?.rules]).toEqual([false, 1])
})

test('a list that is not there ends the start', async () => {
  const options = { denials: new Denials(), loaded: () => undefined, failed: () => undefined }
  const absent = join(folder(), 'absent')
  await expect(watchDenylist(absent, options)).rejects.toMatchObject({ code: 'SETTING_INVALID' })
  mkdirSync(absent)
  const watch = await watchDenylist(absent, options)
  watch.close()
})
