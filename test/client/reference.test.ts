import { expect, test } from 'vitest'
import type { NameReply } from '../../src/client/name-replies.ts'
import { resolveReference } from '../../src/client/reference.ts'
import { AppError } from '../../src/errors.ts'

const cid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
const signal = new AbortController().signal

/** A node that knows these names; `asked` is what it was asked for. */
function knowing(...known: string[]) {
  const asked: string[] = []
  const resolve = async (name: string): Promise<string> => {
    if (name !== 'docs.example.org') throw new AppError('IPNS_UNRESOLVED', `nothing at ${name}`)
    return `/ipfs/${cid}/site`
  }
  const get = async (reference: string): Promise<NameReply> => {
    asked.push(reference)
    if (reference.includes('\t')) throw new AppError('NAME_INVALID', `${reference} is not a name`)
    if (!known.includes(reference)) throw new AppError('NAME_NOT_FOUND', `no name ${reference}`)
    const name = reference.replace(/@.*/, '')
    return { name, cid: `cid-of-${reference}`, revision: 1, heads: 1, size: 1, owner: 'ann', time: '', json: {} }
  }
  return { asked, names: { get }, ipns: { resolve } }
}

for (const text of [cid, `${cid}/a/b`, `/ipfs/${cid}/a`, `ipfs/${cid}/a`, `ipfs://${cid}/a%20b`]) {
  test(`${text.replace(cid, '<cid>')} is content, and no name is looked for`, async () => {
    const names = knowing(text)
    const { path } = await resolveReference(text, names, { signal })
    expect([path.cid, path.name]).toEqual([cid, undefined])
    expect(names.asked).toEqual([])
  })
}

for (const [text, reference, segments, fileName] of [
  ['docs/a.txt', 'docs/a.txt', [], 'a.txt'],
  ['docs/a.txt/', 'docs/a.txt', [], 'a.txt'],
  ['name:docs/a.txt', 'docs/a.txt', [], 'a.txt'],
  ['/names/docs/a.txt', 'docs/a.txt', [], 'a.txt'],
  ['docs/a.txt@17', 'docs/a.txt@17', [], 'a.txt'],
  ['docs/sub/b.txt', 'docs', ['sub', 'b.txt'], 'b.txt'],
  ['ipfs/readme', 'ipfs/readme', [], 'readme'],
] as const) {
  test(`${text} is the name ${reference}${segments.length > 0 ? ` and ${segments.join('/')} below it` : ''}`, async () => {
    const names = knowing('docs/a.txt', 'docs', 'docs/a.txt@17', 'ipfs/readme')
    const resolved = await resolveReference(text, names, { signal })
    expect(resolved).toMatchObject({
      path: { cid: `cid-of-${reference}`, segments, name: `${reference.replace(/@.*/, '')}@1` },
      fileName,
    })
  })
}

test('a path below a name may hold what a name may not; alone it is NAME_INVALID', async () => {
  const resolved = await resolveReference('docs/a\tb', knowing('docs'), { signal })
  expect(resolved.path.segments).toEqual(['a\tb'])
  await expect(resolveReference('docs/a\tb', knowing(), { signal })).rejects.toMatchObject({ code: 'NAME_INVALID' })
})

test('what is neither is NAME_NOT_FOUND, and an outage is not taken for it', async () => {
  await expect(resolveReference('docs/gone.txt', knowing('other'), { signal })).rejects.toMatchObject({
    code: 'NAME_NOT_FOUND',
    message: '"docs/gone.txt" is neither a CID nor a name',
  })
  const fail = async () => {
    throw new AppError('STORE_UNAVAILABLE', 'no answer')
  }
  const failing = { names: { get: fail }, ipns: { resolve: fail } }
  await expect(resolveReference('docs/a.txt', failing, { signal })).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await expect(resolveReference('/ipfs/typo', knowing('typo'), { signal })).rejects.toMatchObject({
    code: 'CID_INVALID',
  })
})

test('what is below /ipns/ is content at the place it leads to now', async () => {
  const resolved = await resolveReference('/ipns/docs.example.org/a b/c.txt', knowing(), { signal })
  expect(resolved).toEqual({
    path: { cid, segments: ['site', 'a b', 'c.txt'] },
    label: '/ipns/docs.example.org/a b/c.txt',
    fileName: 'c.txt',
  })
  expect((await resolveReference('/ipns/docs.example.org', knowing(), { signal })).fileName).toBe('docs.example.org')
  await expect(resolveReference('/ipns/other', knowing('other'), { signal })).rejects.toMatchObject({
    code: 'IPNS_UNRESOLVED',
  })
  await expect(resolveReference('/ipns/docs.example.org/../x', knowing(), { signal })).rejects.toMatchObject({
    code: 'PATH_INVALID',
  })
})

test.each(['docs/x/../a.txt', 'docs/./a.txt', '../docs', 'name:docs/..', '/names/docs/../docs'])(
  '%s is PATH_INVALID before any name is looked for',
  async (text) => {
    const names = knowing('docs', 'docs/a.txt', 'docs/x')
    await expect(resolveReference(text, names, { signal })).rejects.toMatchObject({ code: 'PATH_INVALID' })
    expect(names.asked).toEqual([])
  },
)
