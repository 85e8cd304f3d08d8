import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import * as dagCbor from '@ipld/dag-cbor'
import { encode as encodePb } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { expect, type TestContext, test } from 'vitest'
import { putBytes, putRaw } from '../support/dags.ts'
import { openGateway } from '../support/gateway.ts'

const browser = ['chromium', 'chromium-browser', 'google-chrome'].map(onPath).find((path) => path !== undefined)
if (browser === undefined) console.warn('no Chromium on PATH: the pages are not tried in a browser')

function onPath(program: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, program))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

/** The page as the browser has it after it was loaded, scripts and all. */
async function domOf(url: string, onFinished: TestContext['onTestFinished']): Promise<string> {
  const profile = await mkdtemp(join(tmpdir(), 'stowage-browser-'))
  onFinished(() => rm(profile, { recursive: true, force: true, maxRetries: 5 }))
  const flags = [
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    `--user-data-dir=${profile}`,
  ]
  const { stdout } = await promisify(execFile)(
    browser ?? '',
    [...flags, '--virtual-time-budget=2000', '--dump-dom', url],
    {
      maxBuffer: 16 * 1024 * 1024,
    },
  )
  return stdout
}

const setsMark = "document.documentElement.dataset.mark='ran'"
const evilNames = [
  `<script>${setsMark}</script>`,
  `"><script>${setsMark}</script>`,
  `<img src=x onerror="${setsMark}">`,
  `' onmouseover='${setsMark}`,
  `"onfocus="${setsMark}"autofocus="`,
  `javascript:${setsMark}`,
  `</title><svg onload=${setsMark}>`,
  `<iframe srcdoc="<script>parent.${setsMark}</script>">`,
  `</style><script>${setsMark}</script>`,
  'a&lt;b',
]

test.skipIf(browser === undefined)(
  'in a browser nothing of a listing runs, and its links lead to the entries',
  async ({ onTestFinished }) => {
    const { port, store, ask } = await openGateway(onTestFinished)
    const at = `http://127.0.0.1:${port}`
    const file = await putRaw(store, Buffer.from('<script>document.documentElement.dataset.mark="ran"</script>'))
    const data = new UnixFS({ type: 'directory' }).marshal()
    const links = (names: readonly string[]) =>
      names
        .map((Name) => ({ Name, Hash: file, Tsize: 1 }))
        .sort((a, b) => Buffer.compare(Buffer.from(a.Name), Buffer.from(b.Name)))
    const inner = await putBytes(store, encodePb({ Data: data, Links: links(evilNames) }), 0x70)
    const folder = `"><script>${setsMark}<\\script>`
    const root = await putBytes(store, encodePb({ Data: data, Links: [{ Name: folder, Hash: inner, Tsize: 1 }] }), 0x70)

    const dom = await domOf(`${at}/ipfs/${root}/${encodeURIComponent(folder)}/`, onTestFinished)
    expect(dom).toContain('Index of')
    expect(dom).not.toContain('data-mark')
    expect(dom).not.toMatch(/<(script|img|svg|iframe)/i)
    const hrefs = [...dom.matchAll(/<td class="."><a href="([^"]*)"/g)]
      .map(([, href]) => href ?? '')
      .filter((href) => !href.endsWith('/..'))
    expect(hrefs).toHaveLength(evilNames.length)
    for (const href of hrefs) expect((await ask(href.replaceAll('&amp;', '&'))).status, href).toBe(200)

    // The control: a page of somebody's content runs what is in it, in an origin of its own, so the mark would show.
    const content = await domOf(`${at}/ipfs/${file}?filename=a.html`, onTestFinished)
    expect(content).toContain('data-mark="ran"')
  },
  120_000,
)

test.skipIf(browser === undefined)(
  'in a browser a dag-cbor block is a page on which nothing runs',
  async ({ onTestFinished }) => {
    const { port, store } = await openGateway(onTestFinished)
    const value = Object.fromEntries(evilNames.map((name) => [name, evilNames]))
    const cid = await putBytes(store, dagCbor.encode(value), 0x71)
    const dom = await domOf(`http://127.0.0.1:${port}/ipfs/${cid}`, onTestFinished)
    expect(dom).toContain('dag-cbor block')
    expect(dom).not.toContain('data-mark="ran"')
    expect(dom).not.toMatch(/<(script|img|svg|iframe)/i)
  },
  120_000,
)
