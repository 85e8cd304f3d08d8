import { execFileSync, spawnSync } from 'node:child_process'
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { CarWriter } from '@ipld/car'
import { CID } from 'multiformats/cid'
import { describe, expect, onTestFinished, type TestContext, test } from 'vitest'
import { hashBlock } from '../../src/blocks/block.ts'
import { importDirectory } from '../../src/dag/import-directory.ts'
import type { ImportEntry } from '../../src/dag/import-options.ts'
import { authorization, startApi } from '../support/api.ts'
import { bytesOf, directory, entriesOf, file, forgetful, symlink } from '../support/import-inputs.ts'
import { paxEntry, type TarEntry, tar, tarEnd, tarEntry } from '../support/tar.ts'

const { signal } = new AbortController()

async function uploader(onFinished: TestContext['onTestFinished'], contentType: string, limits = {}) {
  const { url, blocks } = await startApi(onFinished, { limits })
  const send = async (body: NonNullable<RequestInit['body']>, query = '') => {
    const headers = { authorization, 'content-type': contentType }
    const reply = await fetch(`${url}/api/v1/objects${query}`, { method: 'POST', body, headers })
    return { status: reply.status, json: (await reply.json()) as Record<string, unknown> }
  }
  const stat = async (path: string) => (await fetch(`${url}/api/v1/objects/${path}`)).json() as Promise<object>
  return { url, blocks, send, stat }
}

async function cidOf(entries: ImportEntry[], options: object = {}): Promise<string> {
  const all = { profile: 'unixfs-v1-2025', signal, ...options } as const
  return (await importDirectory(entriesOf(...entries), forgetful(), all)).cid.toString()
}

describe('application/x-tar', () => {
  const type = 'application/x-tar'
  const good: TarEntry = { path: 'd/good', content: 'good' }

  test('files, directories, symlinks and hard links become one directory', async ({ onTestFinished }) => {
    const { send, stat } = await uploader(onTestFinished, type)
    const reply = await send(
      tar(
        { path: 'd/', type: '5' },
        { path: 'd/a.txt', content: 'hello' },
        { path: 'd/empty/', type: '5' },
        { path: 'd/link', type: '2', target: 'a.txt' },
        { path: 'd/same', type: '1', target: 'd/a.txt' },
        { path: 'd/.hidden', content: 'x' },
      ),
    )
    expect(reply.status).toBe(201)
    expect(reply.json.cid).toBe(
      await cidOf([
        file('d/a.txt', 'hello'),
        directory('d/empty'),
        symlink('d/link', 'a.txt'),
        file('d/same', 'hello'),
      ]),
    )
    expect(reply.json.size).toBe(10)
    expect(await stat(`${reply.json.cid}/link`)).toMatchObject({ kind: 'symlink', target: 'a.txt' })
  })

  test('./ makes the root the archive itself, and one entry at the top is the root', async ({ onTestFinished }) => {
    const { send } = await uploader(onTestFinished, type)
    const dotted = await send(tar({ path: './', type: '5' }, { path: './a', content: 'A' }))
    expect(dotted.json.cid).toBe(await cidOf([file('d/a', 'A')]))
    expect((await send(tar({ path: 'a', content: 'A' }))).json.cid).toBe(await cidOf([file('a', 'A')]))
    expect((await send(tar({ path: 'a', content: 'A' }), '?wrap')).json.cid).toBe(await cidOf([file('d/a', 'A')]))
  })

  test('mode and mtime are kept only when asked for', async ({ onTestFinished }) => {
    const { send, stat } = await uploader(onTestFinished, type)
    const body = tar(
      { path: 'd/', type: '5', mode: 0o700, mtime: 1_700_000_000 },
      { path: 'd/a', content: 'A', mode: 0o600 },
    )
    expect((await send(body)).json.cid).toBe(await cidOf([file('d/a', 'A')]))
    const kept = await send(body, '?mode=true&mtime=true')
    expect(await stat(String(kept.json.cid))).toMatchObject({ mode: '0700', mtime: '2023-11-14T22:13:20.000Z' })
    expect(await stat(`${kept.json.cid}/a`)).toMatchObject({ mode: '0600', kind: 'file', size: 1 })
  })

  /** Kubo 0.43: `printf hello | ipfs add --raw-leaves=false --mtime=… --mtime-nsecs=…` */
  test.each([
    ['1600000000.123456789', 'bafybeib7i5alfzs3jizhhscp5mwonb6cbdraqegzopzc2slqkii5lo25t4'],
    ['1600000000.1234567899', 'bafybeib7i5alfzs3jizhhscp5mwonb6cbdraqegzopzc2slqkii5lo25t4'],
    ['-4.999999993', 'bafybeiam22dtae4euj2tpv6m5tvgfgrtpc5t7frhuflatu2lywbw35iev4'],
  ])('a pax time of %s is kept to the nanosecond, as in Kubo', async (mtime, cid) => {
    const { send } = await uploader(onTestFinished, type)
    const body = tar(paxEntry({ mtime }), { path: 'a', content: 'hello', mtime: 7 })
    expect((await send(Buffer.from(body), '?mtime=true')).json.cid).toBe(cid)
  })

  test('what nobody reads in a pax header may be any bytes', async () => {
    const { send } = await uploader(onTestFinished, type)
    const value = Buffer.from([0, 4, 0x20, 0xff, 0xfe, 0x0a, 0x3d, 0x80])
    const head = Buffer.from(' SCHILY.xattr.user.DOSATTRIB=')
    const length = head.byteLength + value.byteLength + 3
    const attribute = Buffer.concat([Buffer.from(String(length)), head, value, Buffer.from('\n')])
    const path = paxEntry({ hdrcharset: 'BINARY', path: 'd/ü', 'LIBARCHIVE.xattr.x': 'AAA=' }).content ?? ''
    for (const type of ['x', 'g']) {
      const body = tar(
        { path: 'p', type, content: Buffer.concat([attribute, Buffer.from(path)]) },
        { path: 'd/a', content: 'A' },
      )
      expect((await send(Buffer.from(body))).json.cid).toBe(await cidOf([file('d/ü', 'A')]))
    }
  })

  test('an empty pax value takes back what an earlier header said; a size is only for what has content', async () => {
    const { send } = await uploader(onTestFinished, type)
    const global = { ...paxEntry({ path: 'd/everywhere' }), type: 'g' }
    const back = tar(global, paxEntry({ path: '' }), { path: 'd/a', content: 'A' })
    expect((await send(Buffer.from(back))).json.cid).toBe(await cidOf([file('d/a', 'A')]))
    const sized = tar(paxEntry({ size: '9' }), { path: 'd/', type: '5' }, { path: 'd/a', content: 'A' })
    expect((await send(Buffer.from(sized))).json.cid).toBe(await cidOf([file('d/a', 'A')]))
    const last = tar({ path: 'p', type: 'x', content: '12 path=d/x\n12 path=d/b\n' }, { path: 'd/a', content: 'A' })
    expect((await send(Buffer.from(last))).json.cid).toBe(await cidOf([file('d/b', 'A')]))
  })

  test('a first file may be called like a compressed archive begins', async () => {
    const { send } = await uploader(onTestFinished, type)
    for (const name of ['BZhang.txt', 'PK\x03\x04', 'LZIP']) {
      expect((await send(Buffer.from(tar({ path: name, content: 'A' })), '?wrap')).json.cid).toBe(
        await cidOf([file(`d/${name}`, 'A')]),
      )
    }
  })

  test('a hard link to a hidden file needs hidden=true', async () => {
    const { send } = await uploader(onTestFinished, type)
    const body = tar({ path: 'd/.store/x', content: 'A' }, { path: 'd/x', type: '1', target: 'd/.store/x' })
    expect(await send(Buffer.from(body))).toMatchObject({
      status: 400,
      json: {
        message: '"d/x" is a link to "d/.store/x", which is hidden and was left out',
        hint: expect.stringContaining('hidden=true'),
      },
    })
    expect((await send(Buffer.from(body), '?hidden=true')).json.cid).toBe(
      await cidOf([file('d/.store/x', 'A'), file('d/x', 'A')], { hidden: true }),
    )
    const both = tar({ path: 'd/.store/x', content: 'A' }, { path: 'd/.y', type: '1', target: 'd/.store/x' }, good)
    expect((await send(Buffer.from(both))).json.cid).toBe(await cidOf([file('d/good', 'good')]))
  })

  test('a time beyond what a date can hold is 400 where times are kept, and no matter where they are not', async ({
    onTestFinished,
  }) => {
    const { send } = await uploader(onTestFinished, type)
    const body = tar(paxEntry({ mtime: '9999999999999999' }), { path: 'd/a', content: 'A' })
    expect(await send(Buffer.from(body), '?mtime=true')).toMatchObject({
      status: 400,
      json: { code: 'request_invalid' },
    })
    expect((await send(Buffer.from(body))).status).toBe(201)
  })

  test('more files and directories than are allowed: 413, and those that only paths name count', async ({
    onTestFinished,
  }) => {
    const { send } = await uploader(onTestFinished, type, { uploadEntriesMax: 4 })
    const fits = tar({ path: 'd/e/a', content: 'A' }, { path: 'd/e/b', content: 'B' })
    expect((await send(Buffer.from(fits))).status).toBe(201)
    const many = [
      tar({ path: 'd/e/f/g/a', content: 'A' }),
      tar(...'abcd'.split('').map((name) => ({ path: `d/${name}` }))),
    ]
    for (const body of many) {
      expect(await send(Buffer.from(body))).toMatchObject({ status: 413, json: { code: 'limit_exceeded' } })
    }
  })

  test('pax and GNU long names and pax sizes are understood', async ({ onTestFinished }) => {
    const { send } = await uploader(onTestFinished, type)
    const long = `d/${'ä'.repeat(120)}`
    const expected = await cidOf([file(long, 'A')])
    const pax = tar(paxEntry({ path: long, size: '1' }), { path: 'd/short', content: 'A' })
    expect((await send(pax)).json.cid).toBe(expected)
    const gnu = tar({ path: '././@LongLink', type: 'L', content: `${long}\0` }, { path: 'd/short', content: 'A' })
    expect((await send(gnu)).json.cid).toBe(expected)
    const target = 'x'.repeat(150)
    const link = tar({ path: 'L', type: 'K', content: `${target}\0` }, { path: 'd/l', type: '2', target: 'x' })
    expect((await send(link)).json.cid).toBe(await cidOf([symlink('d/l', target)]))
  })

  test.each<[string, Buffer, RegExp]>([
    ['that is none', Buffer.from('hello world'.repeat(100)), /not a tar/],
    ['that is compressed', Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(1000, 1)]), /compressed/],
    ['of less than a record that is gzip', gzipSync(tar(good)), /compressed \(gzip\)/],
    ['that is zstd', Buffer.concat([Buffer.from('28b52ffd', 'hex'), Buffer.alloc(90)]), /compressed \(zstd\)/],
    ['that is xz', Buffer.concat([Buffer.from('fd377a585a00', 'hex'), Buffer.alloc(900)]), /compressed \(xz\)/],
    ['with a sparse file of GNU', tar(good, { path: 'd/s', type: 'S' }), /"d\/s" is a sparse file/],
    [
      'with a sparse file of pax 0.0',
      tar(good, paxEntry({ 'GNU.sparse.size': '9' }), { path: 'd/s' }),
      /a sparse file/,
    ],
    [
      'with a sparse file of pax 0.1',
      tar(good, paxEntry({ 'GNU.sparse.map': '0,9' }), { path: 'd/s' }),
      /a sparse file/,
    ],
    [
      'with a sparse file of pax 1.0',
      tar(good, paxEntry({ 'GNU.sparse.major': '1' }), { path: 'd/s' }),
      /a sparse file/,
    ],
    ['with a sparse file of star', tar(good, paxEntry({ 'SCHILY.realsize': '9' }), { path: 'd/s' }), /a sparse file/],
    ['with a pax path that has a NUL', tar(paxEntry({ path: 'd/a\0b' }), good), /NUL/],
    [
      'with a pax path that is not UTF-8',
      tar({ path: 'p', type: 'x', content: Buffer.from('13 path=d/\xff\xfe\n', 'latin1') }, good),
      /UTF-8/,
    ],
    [
      'with a pax record without its end',
      tar({ path: 'p', type: 'x', content: '10 path=d/12 path=d/b\n' }, good),
      /pax/,
    ],
    ['with a link to what comes later', tar({ path: 'd/l', type: '1', target: 'd/good' }, good), /no earlier file/],
    ['with a link that goes up', tar(good, { path: 'd/l', type: '1', target: '../evil' }), /"\.\."/],
    ['without a byte', Buffer.alloc(0), /empty/],
    ['without an entry', tarEnd, /nothing to import/],
    ['cut in a header', tarEntry(good).subarray(0, 300), /cut short/],
    ['cut in a file', tarEntry({ path: 'd/a', content: 'A'.repeat(2000) }).subarray(0, 1500), /cut short/],
    ['with a path that goes up', tar(good, { path: '../evil', content: 'x' }), /"\.\."/],
    ['with an absolute path', tar(good, { path: '/etc/passwd', content: 'x' }), /absolute/],
    ['with a device', tar(good, { path: 'd/null', type: '3' }), /type 3/],
    ['with a pipe', tar(good, { path: 'd/pipe', type: '6' }), /type 6/],
    ['with a link to nothing', tar(good, { path: 'd/l', type: '1', target: 'd/absent' }), /no earlier file/],
    ['with the same path twice', tar(good, good), /twice/],
    ['with a damaged header', tar(good, { ...good, path: 'd/b' }).fill(7, 1100, 1110), /not a tar/],
    ['with a damaged pax header', tar({ path: 'p', type: 'x', content: '99 path=a\n' }, good), /pax/],
    ['with a negative size', tar(paxEntry({ size: '-1' }), good), /pax/],
    ['with a negative size in base 256', tar({ path: 'd/a', size: `\xff${'\xff'.repeat(11)}` }, good), /number/],
    ['with a header of negative size', tar({ path: 'p', type: 'x', size: `\xff${'\xff'.repeat(11)}` }, good), /number/],
    [
      'with a name that is not UTF-8',
      tar({ path: 'p', type: 'L', content: Buffer.from([0xff, 0xfe, 0]) }, good),
      /UTF-8/,
    ],
    [
      'with a header that claims a terabyte',
      tar({ path: 'p', type: 'x', size: '17777777777777'.slice(0, 11) }, good),
      /oversized/,
    ],
  ])('a tar %s: 400, and no root', async (_label, body, why) => {
    let finished = async () => undefined as unknown
    const { send, blocks } = await uploader((close) => {
      finished = close as typeof finished
    }, type)
    const reply = await send(Buffer.from(body))
    await finished()
    expect([reply.status, reply.json.code]).toEqual([400, 'request_invalid'])
    expect(String(reply.json.message)).toMatch(why)
    const root = CID.parse(await cidOf([file('d/good', 'good')]))
    expect(await blocks.has(root, { signal })).toBe(false)
  })

  test.runIf(spawnSync('tar', ['--version']).status === 0)(
    'what the tar of this machine writes',
    async ({ onTestFinished }) => {
      const dir = mkdtempSync(join(tmpdir(), 'stowage-tar-'))
      onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
      const long = 'long '.repeat(40)
      mkdirSync(join(dir, 'd', long), { recursive: true })
      writeFileSync(join(dir, 'd', 'a'), 'A')
      writeFileSync(join(dir, 'd', long, 'ü'), 'U'.repeat(100_000))
      symlinkSync('a', join(dir, 'd', 'link'))
      linkSync(join(dir, 'd', 'a'), join(dir, 'd', 'hard'))
      const { send } = await uploader(onTestFinished, type)
      const expected = await cidOf([
        file('d/a', 'A'),
        file('d/hard', 'A'),
        symlink('d/link', 'a'),
        file(`d/${long}/ü`, 'U'.repeat(100_000)),
      ])
      for (const format of ['gnu', 'posix']) {
        const body = execFileSync('tar', [`--format=${format}`, '-C', dir, '-cf', '-', 'd'])
        expect((await send(Buffer.from(body))).json.cid).toBe(expected)
      }
    },
  )
})

describe('multipart/form-data', () => {
  const type = 'multipart/form-data; boundary=edge'
  const part = (headers: string, content: string) => `--edge\r\n${headers}\r\n\r\n${content}\r\n`
  const filePart = (path: string, content: string, more = '') =>
    part(`Content-Disposition: form-data; name="file"; filename="${path}"${more}`, content)
  const end = '--edge--\r\n'

  test('each part is a file at the path of its filename', async ({ onTestFinished }) => {
    const { send } = await uploader(onTestFinished, type)
    const reply = await send(filePart('d/a.txt', 'A') + filePart('d/b/ü c.txt', 'line\r\n--edg\r\n') + end)
    expect(reply.json.cid).toBe(await cidOf([file('d/a.txt', 'A'), file('d/b/ü c.txt', 'line\r\n--edg\r\n')]))
  })

  test('a browser’s FormData is understood, quotes in names too', async ({ onTestFinished }) => {
    const { url } = await startApi(onTestFinished)
    const form = new FormData()
    form.append('file', new Blob(['A']), 'd/a"b".txt')
    form.append('file', new Blob(['B'.repeat(300_000)]), 'd/100%.txt')
    const reply = await fetch(`${url}/api/v1/objects`, { method: 'POST', body: form, headers: { authorization } })
    const expected = await cidOf([file('d/a"b".txt', 'A'), file('d/100%.txt', 'B'.repeat(300_000))])
    expect(await reply.json()).toMatchObject({ cid: expected })
  })

  test('one file without a directory has its own CID, unless wrapped', async ({ onTestFinished }) => {
    const { send } = await uploader(onTestFinished, type)
    const body = filePart('a.txt', 'hello world') + end
    expect((await send(body)).json.cid).toBe('bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e')
    expect((await send(body, '?wrap=true')).json.cid).toBe(await cidOf([file('d/a.txt', 'hello world')]))
  })

  test('directories, symlinks, encoded paths and attributes as Kubo’s clients send them', async ({
    onTestFinished,
  }) => {
    const { send, stat } = await uploader(onTestFinished, type)
    const kubo = (mediaType: string, path: string, content: string, name = 'file') =>
      part(
        `Content-Disposition: form-data; name="${name}"; filename="${path}"\r\nContent-Type: ${mediaType}\r\nabspath-encoded: %2Fx`,
        content,
      )
    const body =
      kubo('application/x-directory', 'my+dir', '') +
      kubo('application/octet-stream', 'my+dir%2F100%25.txt', 'A', 'file?mode=0600&mtime=1700000000') +
      kubo('application/x-directory', 'my%20dir%2Fempty', '') +
      kubo('application/symlink', 'my+dir%2Flink', '100%.txt') +
      end
    const reply = await send(body)
    const entries = [file('my dir/100%.txt', 'A'), directory('my dir/empty'), symlink('my dir/link', '100%.txt')]
    expect(reply.json.cid).toBe(await cidOf(entries))
    const kept = await send(body, '?mode=true&mtime=true')
    expect(await stat(`${kept.json.cid}/100%25.txt`)).toMatchObject({ mode: '0600', mtime: '2023-11-14T22:13:20.000Z' })
  })

  test('the result does not depend on where the network cuts the body', async ({ onTestFinished }) => {
    const { url } = await startApi(onTestFinished)
    const content = '\r\n--edg not\r\n\r\n--'.repeat(50)
    const whole = Buffer.from(`preamble\r\n${filePart('d/a', content)}${filePart('d/b', 'B')}${end}epilogue`)
    const expected = await cidOf([file('d/a', content), file('d/b', 'B')])
    for (const bytes of [1, 7, 64]) {
      const cut = new ReadableStream<Uint8Array>({
        start(controller) {
          for (let at = 0; at < whole.byteLength; at += bytes) controller.enqueue(whole.subarray(at, at + bytes))
          controller.close()
        },
      })
      const headers = { authorization, 'content-type': type }
      const init = { method: 'POST', body: cut, headers, duplex: 'half' } as RequestInit
      expect(await (await fetch(`${url}/api/v1/objects`, init)).json()).toMatchObject({ cid: expected })
    }
  })

  test.each([
    ['without a part', end, /nothing to import/],
    ['without a byte', '', /cut short/],
    ['cut short', filePart('a', 'AAAA'), /cut short/],
    ['cut in the headers', '--edge\r\nContent-Disposition: form-', /cut short/],
    ['with another boundary', filePart('a', 'A').replaceAll('edge', 'other'), /cut short/],
    ['with a field that nobody knows', `${part('Content-Disposition: form-data; name="x"', 'y')}${end}`, /field "x"/],
    ['with a part without disposition', `${part('Content-Type: text/plain', 'y')}${end}`, /Content-Disposition/],
    ['with a path that goes up', filePart('../a', 'A') + end, /"\.\."/],
    ['with an absolute path', filePart('/a', 'A') + end, /absolute/],
    ['with endless headers', `--edge\r\nX: ${'y'.repeat(100_000)}`, /oversized/],
    [
      'with an encoded part',
      `${part('Content-Disposition: form-data; filename="a"\r\nContent-Transfer-Encoding: base64', 'QQ==')}${end}`,
      /Transfer-Encoding/,
    ],
  ])('a body %s: 400', async (_label, body, why) => {
    let finished = async () => undefined as unknown
    const { send } = await uploader((close) => {
      finished = close as typeof finished
    }, type)
    const reply = await send(body)
    await finished()
    expect([reply.status, reply.json.code]).toEqual([400, 'request_invalid'])
    expect(String(reply.json.message)).toMatch(why)
  })

  test('nanoseconds are kept as in Kubo', async () => {
    const { send } = await uploader(onTestFinished, type)
    const name = 'file?mtime=1600000000&mtime-nsecs=123456789'
    const body = part(`Content-Disposition: form-data; name="${name}"; filename="a"`, 'hello') + end
    expect((await send(body, '?mtime=true')).json.cid).toBe(
      'bafybeib7i5alfzs3jizhhscp5mwonb6cbdraqegzopzc2slqkii5lo25t4',
    )
  })

  test('an attribute that is no number is left out', async ({ onTestFinished }) => {
    const { send } = await uploader(onTestFinished, type)
    const body = (query: string) =>
      part(`Content-Disposition: form-data; name="file?${query}"; filename="d/a"`, 'A') + end
    const expected = (await send(body('mtime=5'), '?mtime=true')).json.cid
    expect(await send(body('mtime=5&mtime-nsecs=x'), '?mtime=true')).toMatchObject({
      status: 201,
      json: { cid: expected },
    })
  })

  test('no boundary: 400', async ({ onTestFinished }) => {
    const { send } = await uploader(onTestFinished, 'multipart/form-data')
    expect((await send('x')).json).toMatchObject({ message: expect.stringContaining('boundary') })
  })
})

describe('application/vnd.ipld.car', () => {
  const type = 'application/vnd.ipld.car'
  const block = hashBlock(Buffer.from('hello world'), 0x55)

  async function carOf(roots: CID[], bytes: Uint8Array): Promise<Buffer> {
    const { writer, out } = CarWriter.create(roots)
    const car = bytesOf(out)
    await writer.put({ cid: block.cid, bytes })
    await writer.close()
    return car
  }

  test('its blocks are stored and its roots told', async ({ onTestFinished }) => {
    const { send, stat } = await uploader(onTestFinished, type)
    const cid = block.cid.toString()
    const reply = await send(Buffer.from(await carOf([block.cid], block.bytes)))
    expect(reply).toMatchObject({ status: 201, json: { cid, roots: [cid], blocks: 1, newBlocks: 1, size: 11 } })
    expect(await stat(cid)).toMatchObject({ kind: 'file', size: 11 })
  })

  test('what is no CAR, lies about a block, or has no root: 400', async ({ onTestFinished }) => {
    const { send } = await uploader(onTestFinished, type)
    for (const body of [
      Buffer.from('hello'),
      await carOf([block.cid], Buffer.from('hello w0rld')),
      await carOf([], block.bytes),
    ]) {
      expect(await send(Buffer.from(body))).toMatchObject({ status: 400, json: { code: 'car_invalid' } })
    }
  })

  test('parameters of other uploads do not apply', async ({ onTestFinished }) => {
    const { send } = await uploader(onTestFinished, type)
    expect(await send('x', '?chunk=1MiB')).toMatchObject({ status: 400, json: { code: 'request_invalid' } })
  })
})
