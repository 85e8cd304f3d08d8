import { CID } from 'multiformats/cid'
import { formatBytes, KiB } from '../lib/units.ts'
import { assetHash, page } from './page.ts'
import { breadcrumbs, formLink, linkToCid, shortCid, shown } from './place-links.ts'
import { type ContentRequest, encodeSegment } from './request.ts'

/** Raise it when the markup below changes, so that no cache keeps the old look. */
const markupVersion = '2'
export const previewHash = assetHash('preview', markupVersion)

/** Of HTML for the values of one block; what is left is named, not shown. */
const htmlCharsMax = 256 * KiB
const nestingMax = 64
const textCharsMax = 2 * KiB
const bytesShown = 48
const pathCharsMax = 1024

export interface Preview {
  readonly cid: string
  readonly codec: 'dag-json' | 'dag-cbor'
  readonly blockBytes: number
  /** Undefined: the block is too large to be decoded for a page. */
  readonly value: { readonly of: unknown } | undefined
}

/** A dag-json or dag-cbor block for people: its values in the block's order, links as links. */
export function previewHtml(request: ContentRequest, { cid, codec, blockBytes, value }: Preview): string {
  const rendering = value === undefined ? undefined : new Rendering(request)
  const body = value === undefined ? '' : `<div class="node">${rendering?.value(value.of, [], 0) ?? ''}</div>`
  const cut = rendering?.isCut ?? true
  const form = (format: string, text: string) => formLink(request.place, cid, format, text)
  const own = request.tail.length === 0 ? '' : ` · <a ${linkToCid(request.place, cid)}>${shortCid(cid)}</a>`
  return page({
    title: `${codec} block ${shortCid(cid)}`,
    bare: true,
    main: `<div class="card list">
<header>
<h1>${codec} block</h1>
<div class="path">${breadcrumbs(request)}</div>
<p class="meta">${formatBytes(blockBytes)}${own} · ${form(codec, `as ${codec}`)} · ${form('raw', 'raw block')} · with all below it as ${form('car', 'CAR')}</p>
</header>
${body}
${cut ? `<p class="note">This block is too large to be shown whole: ${form(codec, `get all ${formatBytes(blockBytes)} of it`)}.</p>` : ''}
</div>`,
  })
}

/** Writes values as HTML until there is enough of it. */
class Rendering {
  readonly #request: ContentRequest
  #chars = 0
  isCut = false

  constructor(request: ContentRequest) {
    this.#request = request
  }

  /** `path`: the keys that lead to the value, inside this block. */
  value(value: unknown, path: readonly string[], depth: number): string {
    if (Array.isArray(value)) {
      return this.#members('[', ']', value.length, value.entries(), path, depth)
    }
    if (value instanceof Uint8Array) return this.#leaf('bytes', shownBytes(value))
    if (typeof value !== 'object' || value === null) return this.#scalar(value)
    const cid = CID.asCID(value)
    if (cid !== null) return this.#link(cid, path)
    const keys = Object.keys(value)
    return this.#members('{', '}', keys.length, entriesOf(value, keys), path, depth)
  }

  #members(
    open: string,
    close: string,
    count: number,
    members: Iterable<readonly [string | number, unknown]>,
    path: readonly string[],
    depth: number,
  ): string {
    if (count === 0) return this.#leaf('empty', `${open}${close}`)
    if (depth >= nestingMax) return this.#left(count)
    const parts: string[] = []
    for (const [key, member] of members) {
      if (this.#chars > htmlCharsMax) {
        parts.push(`<li>${this.#left(count - parts.length)}</li>`)
        break
      }
      const name = String(key)
      const label = typeof key === 'number' ? name : shown(cutText(name))
      this.#chars += label.length + 40
      parts.push(`<li><b>${label}</b> ${this.value(member, [...path, name], depth + 1)}</li>`)
    }
    return `<ul class="${open === '[' ? 'items' : 'fields'}">${parts.join('')}</ul>`
  }

  /** By its CID; the arrow goes the way from here, which keeps the path readable. */
  #link(cid: CID, path: readonly string[]): string {
    const { place, href } = this.#request
    const text = cid.toString()
    const step = isWalkable(path)
      ? ` <a href="${href}/${path.map(encodeSegment).join('/')}" title="open at this path">→</a>`
      : ''
    return this.#leaf('link', `<a translate="no" ${linkToCid(place, text)}>${text}</a>${step}`)
  }

  #scalar(value: unknown): string {
    if (typeof value === 'string') return this.#leaf('text', `“${shown(cutText(value))}”`)
    return this.#leaf('scalar', shown(String(value)))
  }

  #leaf(kind: string, html: string): string {
    this.#chars += html.length + 30
    return `<span class="${kind}">${html}</span>`
  }

  #left(count: number): string {
    this.isCut = true
    return `<span class="empty">… ${count} more</span>`
  }
}

/** Not every key fits into a URL. */
function isWalkable(path: readonly string[]): boolean {
  const chars = path.reduce((sum, key) => sum + key.length, 0)
  const fits = (key: string) => key !== '' && key !== '.' && key !== '..' && !/[/\0]/.test(key) && key.isWellFormed()
  return chars > 0 && chars <= pathCharsMax && path.every(fits)
}

function* entriesOf(value: object, keys: readonly string[]): Generator<[string, unknown]> {
  for (const key of keys) yield [key, Reflect.get(value, key)]
}

function cutText(text: string): string {
  return text.length <= textCharsMax ? text : `${text.slice(0, textCharsMax)}… (${text.length} characters)`
}

function shownBytes(bytes: Uint8Array): string {
  const start = Buffer.from(bytes.subarray(0, bytesShown)).toString('base64')
  return `${formatBytes(bytes.byteLength)}: ${start}${bytes.byteLength > bytesShown ? '…' : ''}`
}
