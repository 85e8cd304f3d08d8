import { describe, expect, type TestContext, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { importDirectory } from '../../src/dag/import-directory.ts'
import type { ImportEntry } from '../../src/dag/import-options.ts'
import { KiB } from '../../src/lib/units.ts'
import { rawExchange, startApi } from '../support/api.ts'
import { directory, entriesOf, file, streamOf, symlink } from '../support/import-inputs.ts'

const { signal } = new AbortController()

async function stored(onFinished: TestContext['onTestFinished'], entries: ImportEntry[], options: object = {}) {
  const api = await startApi(onFinished)
  const all = { profile: 'unixfs-v1-2025', signal, ...options } as const
  const { cid } = await importDirectory(entriesOf(...entries), api.blocks, all)
  const get = async (path: string) => {
    const reply = await fetch(`${api.url}/api/v1/objects/${path}`)
    return { status: reply.status, json: (await reply.json()) as Record<string, unknown> }
  }
  return { ...api, cid: cid.toString(), get }
}

describe('stat', () => {
  test('says what a file, a directory and a symlink are', async ({ onTestFinished }) => {
    const large = {
      kind: 'file',
      path: 'd/large',
      content: streamOf(Buffer.alloc(3000)),
      attributes: { mode: 0o600 },
    } as const
    const entries = [file('d/a b', 'hello'), large, symlink('d/link', 'a b'), directory('d/empty')]
    const { get, cid } = await stored(onTestFinished, entries, { chunkBytes: KiB })
    const root = await get(cid)
    expect(root.status).toBe(200)
    expect(root.json).toMatchObject({
      cid,
      codec: 'dag-pb',
      kind: 'directory',
      size: 0,
      links: 4,
      path: `/ipfs/${cid}`,
    })
    expect(Number(root.json.dagBytes)).toBeGreaterThan(3005)
    expect((await get(`${cid}/a%20b`)).json).toMatchObject({
      codec: 'raw',
      kind: 'file',
      size: 5,
      blockBytes: 5,
      dagBytes: 5,
      links: 0,
      path: `/ipfs/${cid}/a%20b`,
    })
    expect((await get(`${cid}/large`)).json).toMatchObject({ kind: 'file', size: 3000, links: 3, mode: '0600' })
    expect((await get(`${cid}/link`)).json).toMatchObject({ kind: 'symlink', target: 'a b', size: 3 })
  })

  test('HEAD answers as GET, without a body', async ({ onTestFinished }) => {
    const { url, cid } = await stored(onTestFinished, [file('d/a', 'A')])
    const reply = await fetch(`${url}/api/v1/objects/${cid}`, { method: 'HEAD' })
    expect([reply.status, await reply.text()]).toEqual([200, ''])
    expect((await fetch(`${url}/api/v1/objects/${cid}/b`, { method: 'HEAD' })).status).toBe(404)
  })

  test('a CID of the greatest length is no problem of the router', async ({ onTestFinished }) => {
    const { get } = await stored(onTestFinished, [file('d/a', 'A')])
    // base16 of an identity CID of 128 bytes (IPIP-512)
    const long = `f0155008001${'42'.repeat(128)}`
    expect(await get(long)).toMatchObject({ status: 200, json: { kind: 'file', size: 128 } })
  })

  test.each([
    ['no CID', '', 400, 'cid_invalid'],
    ['a word', 'hello', 400, 'cid_invalid'],
    ['an empty segment', '{cid}//x', 400, 'path_invalid'],
    ['a NUL', '{cid}/%00', 400, 'path_invalid'],
    ['an encoded slash', '{cid}/a%2Fb', 400, 'path_invalid'],
    ['a percent sign that encodes nothing', '{cid}/%zz', 400, 'request_invalid'],
    ['a name that is not there', '{cid}/absent', 404, 'path_not_found'],
    ['a block that is not here', hashBlock(Buffer.from('absent'), 0x55).cid.toString(), 404, 'block_not_found'],
    ['an unknown parameter', '{cid}?list=1', 400, 'request_invalid'],
    ['a limit without entries', '{cid}?limit=1', 400, 'request_invalid'],
    ['a limit of nothing', '{cid}?entries=true&limit=0', 400, 'request_invalid'],
    ['a limit beyond the setting', '{cid}?entries=true&limit=10001', 400, 'request_invalid'],
    ['a parameter twice', '{cid}?entries=true&entries=true', 400, 'request_invalid'],
    ['going on after a name that is not there', '{cid}?entries=true&after=zzz', 400, 'request_invalid'],
    ['the entries of a file', '{cid}/a?entries=true', 422, 'dag_invalid'],
  ])('%s: refused', async (_label, path, status, code) => {
    let finished = async () => undefined as unknown
    const { get, cid } = await stored(
      (close) => {
        finished = close as typeof finished
      },
      [file('d/a', 'A')],
    )
    const reply = await get(path.replace('{cid}', cid))
    await finished()
    expect([reply.status, reply.json.code]).toEqual([status, code])
    expect(reply.json).not.toHaveProperty('stack')
  })
})

test.each(['..', '%2e%2e', '.%2E', '.'])('a dot segment spelled %s is refused, not resolved', async (segment) => {
  let finished = async () => undefined as unknown
  const { port, cid } = await stored(
    (close) => {
      finished = close as typeof finished
    },
    [file('d/a', 'A')],
  )
  const head = `GET /api/v1/objects/${cid}/${segment}/a HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n`
  expect(await rawExchange(port, head)).toMatch(/^HTTP\/1.1 400 [\s\S]*path_invalid/)
  await finished()
})

describe('entries', () => {
  const names = Array.from({ length: 25 }, (_, index) => `f${String(index).padStart(2, '0')}`)

  for (const [label, extra] of [
    ['a flat directory', []],
    ['a HAMT', Array.from({ length: 6000 }, (_, index) => `x${index}`)],
  ] as const) {
    test(`${label} is listed in pages, each entry once`, async ({ onTestFinished }) => {
      const all = [...names, ...extra]
      const { get, cid } = await stored(
        onTestFinished,
        all.map((name) => file(`d/${name}`, name)),
      )
      const limit = Math.ceil(all.length / 3)
      const seen: string[] = []
      let after = ''
      for (let page = 0; page < 3; page++) {
        const { json } = await get(`${cid}?entries=true&limit=${limit}${after === '' ? '' : `&after=${after}`}`)
        const entries = json.entries as { name: string; dagBytes: number; kind?: string }[]
        expect(entries[0]?.kind).toBeUndefined()
        seen.push(...entries.map(({ name }) => name))
        expect(json.next === undefined).toBe(page === 2)
        after = String(json.next)
      }
      expect(seen.sort()).toEqual([...all].sort())
    })
  }

  test('detail tells what each entry is', async ({ onTestFinished }) => {
    const mtime = { secs: 1_704_164_645n, nsecs: 0 }
    const old = { kind: 'file', path: 'd/old', content: streamOf('xyz'), attributes: { mode: 0o640, mtime } } as const
    const entries = [file('d/a', 'hello'), old, symlink('d/link', 'a'), directory('d/sub')]
    const { get, cid } = await stored(onTestFinished, entries)
    const { json } = await get(`${cid}?entries=true&detail=true`)
    expect(json).toMatchObject({
      cid,
      entries: [
        { name: 'a', kind: 'file', size: 5, dagBytes: 5 },
        { name: 'link', kind: 'symlink', size: 1, target: 'a' },
        { name: 'old', kind: 'file', size: 3, mode: '0640', mtime: '2024-01-02T03:04:05.000Z' },
        { name: 'sub', kind: 'directory', size: 0 },
      ],
    })
    expect(json).not.toHaveProperty('next')
  })
})
