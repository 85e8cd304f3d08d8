import { spawnSync } from 'node:child_process'
import { expect, onTestFinished, test } from 'vitest'
import { MiB } from '../../src/lib/units.ts'
import { type CountingStore, importDag, pattern, putBytes, putNode, putRaw, signal } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'

const directory = Uint8Array.of(0x08, 0x01)
const text = (value: string) => Buffer.from(value)
const hasTar = spawnSync('tar', ['--version']).status === 0

function listed(archive: Uint8Array): string[] {
  const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' }
  const { status, stdout } = spawnSync('tar', ['-tf', '-', '--quoting-style=literal'], {
    input: archive,
    encoding: 'utf8',
    env,
  })
  expect(status).toBe(0)
  return stdout.trimEnd().split('\n')
}

const tree = (store: CountingStore) =>
  importDag(store, [
    { path: 'd/ą/file-źł.txt', content: text('a') },
    { path: 'd/b.txt', content: text('b') },
  ])

test.runIf(hasTar)(
  'a directory as a tar: by format and by Accept, with a name, a tag and a URL of its own',
  async () => {
    const { ask, store } = await openGateway(onTestFinished)
    const root = await tree(store)
    const byFormat = await ask(`/ipfs/${root}?format=tar`)
    expect(byFormat.status).toBe(200)
    expect(byFormat.headers).toMatchObject({
      'content-type': 'application/x-tar',
      'content-disposition': `attachment; filename="${root}.tar"; filename*=UTF-8''${root}.tar`,
      etag: `W/"${root}.x-tar"`,
      'accept-ranges': 'none',
      'cache-control': 'public, max-age=29030400, immutable',
      'x-content-type-options': 'nosniff',
      'x-ipfs-roots': root.toString(),
    })
    expect(byFormat.headers['content-location']).toBeUndefined()
    expect(listed(byFormat.bytes)).toEqual([`${root}/`, `${root}/b.txt`, `${root}/ą/`, `${root}/ą/file-źł.txt`])
    const byAccept = await ask(`/ipfs/${root}`, { headers: { accept: 'application/x-tar' } })
    expect(byAccept.bytes.equals(byFormat.bytes)).toBe(true)
    expect(byAccept.headers['content-location']).toBe(`/ipfs/${root}?format=tar`)
  },
)

test('the file name of the request is that of the tar, and what the path ends at is its top entry', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await tree(store)
  const named = await ask(`/ipfs/${root}/b.txt?format=tar&filename=test%D1%82%D0%B5%D1%81%D1%82.tar`)
  expect(named.headers['content-disposition']).toBe(
    `attachment; filename="test____.tar"; filename*=UTF-8''test%D1%82%D0%B5%D1%81%D1%82.tar`,
  )
  const file = await putRaw(store, text('b'))
  expect(named.bytes.subarray(0, 100).toString('latin1').replace(/\0+$/, '')).toBe(file.toString())
})

test('HEAD and If-None-Match read no more than the root', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const root = await tree(store)
  store.forget()
  const head = await ask(`/ipfs/${root}?format=tar`, { method: 'HEAD' })
  expect([head.status, head.headers['content-type'], store.asked.length]).toEqual([200, 'application/x-tar', 1])
  const headers = { 'if-none-match': `"${root}.x-tar"` }
  expect((await ask(`/ipfs/${root}?format=tar`, { headers })).status).toBe(304)
})

test('what is no UnixFS is 406, what is damaged 422, what is not here 404', async () => {
  const { ask, store } = await openGateway(onTestFinished)
  const node = await putBytes(store, Uint8Array.of(0xa0), 0x71)
  const broken = await putNode(store, Uint8Array.of(0x08, 99), [])
  const statusOf = async (cid: unknown) => (await ask(`/ipfs/${cid}?format=tar`)).status
  expect([await statusOf(node), await statusOf(broken)]).toEqual([406, 422])
  const root = await tree(store)
  await store.delete(root, { signal })
  expect(await statusOf(root)).toBe(404)
})

test('an entry that would be extracted outside of the top is 422 when it is met early, and else cuts the tar', async () => {
  const { ask, store, logged } = await openGateway(onTestFinished)
  const leaf = await putRaw(store, text('x'))
  const large = await importDag(store, [{ path: 'a', content: pattern(MiB) }])
  const early = await putNode(store, directory, [{ cid: leaf, name: '../x' }])
  const late = await putNode(store, directory, [
    { cid: large, name: 'a' },
    { cid: early, name: 'b' },
    { cid: early, name: 'c' },
  ])
  const outside = await putNode(store, directory, [{ cid: leaf, name: '../../x' }])
  const lateOutside = await putNode(store, directory, [
    { cid: large, name: 'a' },
    { cid: outside, name: 'b' },
  ])
  expect((await ask(`/ipfs/${early}?format=tar`)).status).toBe(422)
  expect((await ask(`/ipfs/${late}?format=tar`)).status).toBe(200)
  await expect(ask(`/ipfs/${lateOutside}?format=tar`)).rejects.toMatchObject({ code: 'ECONNRESET' })
  expect(logged).toHaveLength(1)
})

test('a tar of few blocks that would be large is refused, and one whose first files are missing is 404', async () => {
  const { ask, store } = await openGateway(onTestFinished, { dagExpandedBytesMax: 1 * MiB })
  let cid = await putRaw(store, text('x'))
  for (let level = 0; level < 40; level++) {
    cid = await putNode(store, directory, [
      { cid, name: 'a' },
      { cid, name: 'b' },
    ])
  }
  await expect(ask(`/ipfs/${cid}?format=tar`)).rejects.toMatchObject({ code: 'ECONNRESET' })
  const file = await importDag(store, [{ path: 'a', content: pattern(2 * MiB) }])
  expect((await ask(`/ipfs/${file}?format=tar`)).status).toBe(413)
  const missing = await putRaw(store, text('missing'))
  const root = await putNode(store, directory, [
    { cid: await putRaw(store, pattern(MiB / 2)), name: 'a' },
    { cid: missing, name: 'b' },
  ])
  await store.delete(missing, { signal })
  expect((await ask(`/ipfs/${root}?format=tar`)).status).toBe(404)
})
