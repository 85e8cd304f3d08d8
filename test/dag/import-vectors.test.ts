import { describe, expect, test, vi } from 'vitest'
import { importDirectory } from '../../src/dag/import-directory.ts'
import { importFile } from '../../src/dag/import-file.ts'
import type { ImportEntry } from '../../src/dag/import-options.ts'
import { KiB, MiB } from '../../src/lib/units.ts'
import { entriesOf, file, forgetful, keyStream, streamOf, vectorNames } from '../support/import-inputs.ts'

// Real work by the ten thousand blocks: minutes, where a machine has much else to do.
vi.setConfig({ testTimeout: 300_000 })

const { signal } = new AbortController()
const v1 = { profile: 'unixfs-v1-2025', signal } as const
const v0 = { profile: 'unixfs-v0-2015', signal } as const

/** https://specs.ipfs.tech/ipips/ipip-0499/ and Kubo's own test of it, which says how the inputs are made. */
const files = [
  ['a small file', v1, () => streamOf('hello world'), 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'],
  ['a small file', v0, () => streamOf('hello world'), 'Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD'],
  [
    'one chunk',
    v1,
    () => keyStream(MiB, 'chunk-v1-seed'),
    'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta',
  ],
  ['one chunk', v0, () => keyStream(256 * KiB, 'chunk-v0-seed'), 'QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE'],
  [
    'one chunk and a byte',
    v1,
    () => keyStream(MiB + 1, 'chunk-v1-seed'),
    'bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64',
  ],
  [
    'one chunk and a byte',
    v0,
    () => keyStream(256 * KiB + 1, 'chunk-v0-seed'),
    'QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ',
  ],
  [
    'a full node of links',
    v1,
    () => keyStream(1024 * MiB, 'v1-2025-seed'),
    'bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm',
  ],
  [
    'a full node of links',
    v0,
    () => keyStream(174 * 256 * KiB, 'v0-seed'),
    'QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2',
  ],
  [
    'a full node and a byte',
    v1,
    () => keyStream(1024 * MiB + 1, 'v1-2025-seed'),
    'bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe',
  ],
  [
    'a full node and a byte',
    v0,
    () => keyStream(174 * 256 * KiB + 1, 'v0-seed'),
    'QmV81WL765sC8DXsRhE5fJv2rwhS4icHRaf3J9Zk5FdRnW',
  ],
] as const

const directories = [
  ['at the threshold (flat)', v1, [4766, 11, 21], 'bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4'],
  ['at the threshold (flat)', v0, [4096, 30, 30], 'QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN'],
  ['a byte above it (HAMT)', v1, [4766, 11, 22], 'bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu'],
  ['a byte above it (HAMT)', v0, [4033, 31, 31], 'QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP'],
] as const

describe('IPIP-499', () => {
  for (const [label, options, content, cid] of files) {
    test(`${options.profile}: a file of ${label} has the CID of the specification`, async () => {
      const result = await importFile(content(), {}, forgetful(), options)
      expect(result.cid.toString()).toBe(cid)
    })
  }

  for (const [label, options, [count, length, lastLength], cid] of directories) {
    test(`${options.profile}: a directory ${label} has the CID of the specification`, async () => {
      const names = await vectorNames(count, length, lastLength, `hamt-${options.profile}`)
      const entries = names.map((name) => file(`root/${name}`, 'x'))
      const result = await importDirectory(entriesOf(...entries), forgetful(), options)
      expect(result.cid.toString()).toBe(cid)
      expect(result.size).toBe(BigInt(count))
    })
  }
})

describe('well-known CIDs', () => {
  test('the empty file', async () => {
    expect((await importFile(streamOf(), {}, forgetful(), v1)).cid.toString()).toBe(
      'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku',
    )
    expect((await importFile(streamOf(), {}, forgetful(), v0)).cid.toString()).toBe(
      'QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH',
    )
  })

  test('the empty directory', async () => {
    const empty = () => entriesOf({ kind: 'directory', path: './', attributes: {} })
    expect((await importDirectory(empty(), forgetful(), v1)).cid.toString()).toBe(
      'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354',
    )
    const old = (await importDirectory(empty(), forgetful(), v0)).cid
    expect(old.toString()).toBe('QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn')
    expect(old.version).toBe(0)
  })

  test('trickle files as Kubo 0.43 makes them, also of one chunk and of none', async () => {
    const zeros = () => streamOf(Buffer.alloc(100))
    const trickle = { ...v1, trickle: true }
    const cid = async (content: AsyncIterable<Uint8Array>, options: typeof trickle | (typeof v0 & { trickle: true })) =>
      (await importFile(content, {}, forgetful(), options)).cid.toString()
    expect(await cid(zeros(), trickle)).toBe('bafybeib6tfwfhvp273xbknbe6vchpkgsi4vepzv3xcv7rclwlefcrym47m')
    expect(await cid(streamOf(), trickle)).toBe('bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y')
    expect(await cid(zeros(), { ...v0, trickle: true })).toBe('QmQLWCPdi5Tj2kQVB8Lv5YBLAebNx3PRCdLzGSbivkcwLk')
  })

  test.each([
    [2048, 'bafybeieyiwtflptdh35ga5rvsber2dzcbc7cikzfdwjmndjifuq42d6yhe'],
    [2560, 'bafybeigqhj4jk6uybxb43emwe34se7mwn4rqqsqk7zbcwhgsyqkv3igl7m'],
  ])('%i MiB of zeros as Kubo 0.43 makes them: sizes of 2 to 4 GiB are where ipfs-unixfs fails', async (count, cid) => {
    const chunk = Buffer.alloc(MiB)
    const zeros = (async function* () {
      for (let i = 0; i < count; i++) yield chunk
    })()
    expect((await importFile(zeros, {}, forgetful(), v1)).cid.toString()).toBe(cid)
  })

  const at = (secs: bigint, nsecs: number, mode: number) => ({ mode, mtime: { secs, nsecs } })
  const tree = (): ImportEntry[] => [
    { kind: 'directory', path: 'tree', attributes: at(1_600_000_006n, 1000, 0o755) },
    {
      kind: 'file',
      path: 'tree/a.txt',
      content: streamOf('hello'),
      attributes: at(1_600_000_000n, 123_456_789, 0o644),
    },
    {
      kind: 'file',
      path: 'tree/big',
      content: streamOf(Buffer.alloc(2_500_000)),
      attributes: at(-2n, 750_000_000, 0o640),
    },
    { kind: 'symlink', path: 'tree/link', target: 'a.txt', attributes: at(1_600_000_003n, 1, 0o777) },
    { kind: 'file', path: 'tree/none', content: streamOf(), attributes: at(1_600_000_002n, 500_000_000, 0o600) },
    { kind: 'directory', path: 'tree/sub', attributes: at(1_600_000_005n, 250_000_000, 0o755) },
    { kind: 'directory', path: 'tree/sub/empty', attributes: at(1_600_000_004n, 999_999_999, 0o2775) },
    { kind: 'file', path: 'tree/sub/run', content: streamOf('exec'), attributes: at(1_600_000_001n, 0, 0o4755) },
  ]

  test.each([
    [['mode'], 'bafybeibrkkzllqdjvy4rxi3mfc345bvpq5am7wegplr3a6p7gnzbozjvf4'],
    [['mtime'], 'bafybeigjgblqs6ht2ozu3lnm3tqa3fxdvbhmjqsxv2cmmspmw4ksll4d7a'],
    [['mode', 'mtime'], 'bafybeifci4yklcrrfdpeu5565rnt7o4vadkhkrkbkshc2shljuvdmia5aq'],
  ] as const)(
    'a tree with %j as Kubo 0.43 makes it (ipfs add -r --preserve-… --raw-leaves=false)',
    async (kept, cid) => {
      const entries = tree().map((entry) => {
        if (entry.kind === 'copy') return entry
        const attributes = Object.fromEntries(
          Object.entries(entry.attributes).filter(([name]) => kept.some((one) => one === name)),
        )
        return { ...entry, attributes }
      })
      const made = await importDirectory(entriesOf(...entries), forgetful(), { ...v1, rawLeaves: false })
      expect(made.cid.toString()).toBe(cid)
    },
  )

  test('files with mode and mtime as Kubo 0.43 makes them', async () => {
    const attributes = { mode: 0o600, mtime: { secs: 1_704_164_645n, nsecs: 0 } }
    const cid = async (kept: object) => (await importFile(streamOf('hello'), kept, forgetful(), v0)).cid.toString()
    expect(await cid({ mode: attributes.mode })).toBe('QmY4RtjMMYm44QZizCn1wJr2oySXJJdmsoZfQGJQH8WyfV')
    expect(await cid({ mtime: attributes.mtime })).toBe('QmQb96UnyjZEvhRLzJfwcahECUWWW5NQJ4vVJF7ZRBKsiX')
    expect(await cid(attributes)).toBe('QmZGxuzA1G3tMZJJMeCQqEsckod3Aum3fbV48ZajE7YHAZ')
  })
})
