import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { testFolder } from '../support/cli.ts'
import { type FullNode, startFullNode } from '../support/full-node.ts'
import { httpOf, type NodeHttp } from '../support/node-http.ts'

const run = promisify(execFile)
const hasCurl = await run('curl', ['--version']).then(
  () => true,
  () => false,
)

const closers: (() => unknown)[] = []
let full: FullNode
let http: NodeHttp
beforeAll(async () => {
  full = await startFullNode((close) => closers.push(close as () => unknown))
  http = httpOf(full)
})
afterAll(async () => {
  for (const close of closers.reverse()) await close()
})

type Item = readonly [name: string, value: string, filename?: string]

async function send(path: string, items: readonly Item[], method = 'POST', more: Record<string, string> = {}) {
  const form = new FormData()
  for (const [name, value, filename] of items) {
    if (filename === undefined) form.append(name, value)
    else form.append(name, new Blob([value], { type: 'text/plain' }), filename)
  }
  const headers = { authorization: `Bearer ${full.token}`, ...more }
  const reply = await fetch(`${full.node.apiUrl}/api/v1${path}`, { method, body: form, headers })
  return { status: reply.status, json: (await reply.json()) as Record<string, unknown> }
}

const file: Item = ['file', 'hello', 'a.txt']

describe('text fields of a form', () => {
  test('say what the query says', async () => {
    const named = await send('/objects', [['name', 'forms/größe'], ['mediaType', 'text/x-mine'], file])
    expect(named).toMatchObject({ status: 201, json: { name: { name: 'forms/größe', mediaType: 'text/x-mine' } } })
    const reply = await http.gateway(`/names/forms/${encodeURIComponent('größe')}`)
    expect([reply.text, reply.headers.get('content-type')]).toEqual(['hello', 'text/x-mine'])
    const wrapped = await send('/objects', [['wrap', 'true'], file])
    expect(wrapped.json.cid).toBe((await send('/objects?wrap=true', [file])).json.cid)
    expect(wrapped.json.cid).not.toBe(named.json.cid)
    const old = await send('/objects', [['profile', 'unixfs-v0-2015'], ['raw-leaves', 'false'], file])
    expect(old.json.cid).toBe((await send('/objects?profile=unixfs-v0-2015&raw-leaves=false', [file])).json.cid)
    const put = await send('/names/forms/put', [['mediaType', 'text/x-put'], file], 'PUT')
    expect(put).toMatchObject({ status: 201, json: { name: 'forms/put', mediaType: 'text/x-put' } })
  })

  test('go with conditions and ids as a query does', async () => {
    const id = { 'stowage-command-id': crypto.randomUUID(), 'if-none-match': '*' }
    const once = () => send('/objects', [['name', 'forms/once'], file], 'POST', id)
    const first = await once()
    expect(first.status).toBe(201)
    expect((await once()).json).toEqual(first.json)
    const other = await send('/objects', [['name', 'forms/other'], file], 'POST', id)
    expect(other).toMatchObject({ status: 409, json: { code: 'command_id_taken' } })
    const again = await send('/objects', [['name', 'forms/once'], file], 'POST', { 'if-none-match': '*' })
    expect(again).toMatchObject({ status: 412, json: { code: 'revision_conflict' } })
  })

  const unknown: readonly (readonly [string, string, readonly Item[], RegExp])[] = [
    ['that nobody knows', '/objects', [['nmae', 'x'], file], /unknown parameter or field "nmae"/],
    ['without a name', '/objects', [['', 'x'], file], /unknown parameter or field ""/],
    ['of another kind of upload', '/objects', [['partial', 'true'], file], /"partial"/],
    ['given twice', '/objects', [['name', 'a'], ['name', 'b'], file], /"name" is given twice/],
    ['that the query has', '/objects?wrap=true', [['wrap', 'true'], file], /"wrap" is given twice/],
    ['with the name in the query', '/objects?name=a', [['name', 'b'], file], /"name"/],
    ['behind a file', '/objects', [file, ['name', 'late']], /comes behind a file/],
    ['with a value that is none', '/objects', [['wrap', 'perhaps'], file], /wrap="perhaps"/],
    ['with a name that is none', '/objects', [['name', 'a/../b'], file], /\.\./],
    ['with a media type that is none', '/objects', [['name', 'a'], ['mediaType', 'a, b'], file], /media type/],
    ['with a media type for no name', '/objects', [['mediaType', 'text/plain'], file], /there is none/],
    ['of content without a filename', '/objects', [['file', 'x'.repeat(10_000)]], /longer than 8192 bytes/],
    ['that are too many', '/objects', Array.from({ length: 100 }, (_, i) => [`f${i}`, ''] as const), /more than 64/],
  ]
  test.each(unknown)('%s: refused, and nothing is stored', async (_what, path, items, why) => {
    const before = (await http.api('/names?prefix=')).json
    const reply = await send(path, items)
    expect([reply.status, reply.json.message]).toEqual([400, expect.stringMatching(why)])
    expect((await http.api('/names?prefix=')).json).toEqual(before)
  })

  test('that nobody knows: told which ones there are', async () => {
    const reply = await send('/objects', [['nmae', 'x'], file])
    expect(reply.json.hint).toMatch(/^allowed here: name, mediaType, profile,/)
    expect((await send('/objects?nmae=x', [file])).json.hint).toMatch(/^allowed here: name, profile,/)
  })

  test('on a route that has the name itself do not say another', async () => {
    const reply = await send('/names/forms/route', [['name', 'forms/else'], file], 'PUT')
    expect(reply).toMatchObject({ status: 400, json: { code: 'request_invalid' } })
    expect((await http.api('/names/forms/route')).status).toBe(404)
  })

  test('a file that was not chosen is left out', async () => {
    // As browsers write it; undici's FormData leaves an empty filename away.
    const part = (filename: string, content: string) =>
      `--edge\r\nContent-Disposition: form-data; name="f"; filename="${filename}"\r\n\r\n${content}\r\n`
    const post = (...parts: string[]) =>
      http.api('/objects', {
        method: 'POST',
        headers: { 'content-type': 'multipart/form-data; boundary=edge' },
        body: `${parts.join('')}--edge--\r\n`,
      })
    const { json } = await post(part('a.txt', 'hello'))
    expect(json?.cid).toBeDefined()
    expect((await post(part('a.txt', 'hello'), part('', ''))).json?.cid).toBe(json?.cid)
    expect((await post(part('', ''), part('a.txt', 'hello'))).json?.cid).toBe(json?.cid)
    expect((await post(part('', ''))).status).toBe(400)
    expect((await post(part('a.txt', 'hello'), part('', 'content'))).status).toBe(400)
  })
})

test.skipIf(!hasCurl)('curl -F does it', async () => {
  const folder = await testFolder(onTestFinished)
  await writeFile(join(folder, 'a.txt'), 'by curl')
  const curl = async (...fields: string[]) => {
    const form = fields.flatMap((field) => ['-F', field])
    const target = [`${full.node.apiUrl}/api/v1/objects`, '-H', `Authorization: Bearer ${full.token}`]
    const { stdout } = await run('curl', ['-sS', ...target, ...form], { cwd: folder })
    return JSON.parse(stdout) as Record<string, unknown>
  }
  const named = await curl('name=forms/curl', 'file=@a.txt')
  expect(named).toMatchObject({ size: 7, name: { name: 'forms/curl' } })
  expect((await http.gateway('/names/forms/curl')).text).toBe('by curl')
  expect(await curl('file=@a.txt', 'name=forms/late')).toMatchObject({
    code: 'request_invalid',
    message: expect.stringMatching(/comes behind a file/),
  })
  expect(await curl('description=mine', 'file=@a.txt')).toMatchObject({ code: 'request_invalid' })
})
