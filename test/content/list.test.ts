import { encode as encodePb } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { createInspect } from '../../src/content/stat.ts'
import { openPath } from '../../src/dag/open.ts'
import { CountingStore, limits, putBytes, putRaw, signal } from '../support/dags.ts'
import { nameOf, putHugeDirectory } from '../support/huge-directory.ts'

/** The names of all pages, in order, and the most blocks that one page asked for. */
async function pageThrough(store: CountingStore, root: CID, limit: number) {
  const inspect = createInspect({ blocks: store, limits })
  const names: string[] = []
  let mostAsked = 0
  for (let after: string | undefined, first = true; first || after !== undefined; first = false) {
    const target = await openPath({ root, segments: [] }, store, { signal, limits })
    store.forget()
    const page = await inspect.list(target, { limit, detail: false, signal, ...(after === undefined ? {} : { after }) })
    mostAsked = Math.max(mostAsked, store.asked.length)
    names.push(...page.entries.map(({ name }) => name))
    after = page.next
  }
  return { names, mostAsked }
}

async function putDirectory(store: CountingStore, names: readonly string[]): Promise<Uint8Array> {
  const file = await putRaw(store, Buffer.from('x'))
  const Links = names.map((Name) => ({ Name, Hash: file, Tsize: 1 }))
  return encodePb({ Data: new UnixFS({ type: 'directory' }).marshal(), Links })
}

test('a list goes on after a name without reading what comes before it', async () => {
  const store = new CountingStore()
  const { root } = await putHugeDirectory(store, 20_000)
  const { names, mostAsked } = await pageThrough(store, root, 100)
  expect(names).toHaveLength(20_000)
  expect(new Set(names).size).toBe(20_000)
  expect(names).toContain(nameOf(19_999))
  expect(mostAsked).toBeLessThan(80)
})

test('a list goes on after a name that is no UTF-8, and after one that the directory has twice', async () => {
  const store = new CountingStore()
  const bytes = Buffer.from(await putDirectory(store, ['a', 'bad ?', 'c', 'c', 'd', 'e']))
  bytes[bytes.indexOf('bad ?') + 4] = 0xff
  const { names } = await pageThrough(store, await putBytes(store, bytes, 0x70), 2)
  expect(names.slice(0, 3)).toEqual(['a', 'bad \ufffd', 'c'])
  expect(names.at(-1)).toBe('e')
})

test('a name that is not there is refused', async () => {
  const store = new CountingStore()
  const root = await putBytes(store, await putDirectory(store, ['a', 'b']), 0x70)
  const target = await openPath({ root, segments: [] }, store, { signal, limits })
  const inspect = createInspect({ blocks: store, limits })
  for (const after of ['', 'c', '\ufffd']) {
    await expect(inspect.list(target, { limit: 1, after, detail: false, signal })).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    })
  }
})
