import { escapeHtml } from './page.ts'
import { type ContentRequest, encodeSegment, type Place } from './request.ts'

/** Where a CID is explained, for hosts that serve one site and no other content. */
const cidExplainer = 'https://cid.ipfs.tech/#'

/**
 * The attributes of a link to another DAG: HTML, escaped. `filename` is what it is called where we link to it.
 * Their order and the double escape are those of Kubo's page, which the conformance suite compares letter by letter.
 */
export function linkToCid(place: Place, cid: string, filename?: string): string {
  if (place.gateway === undefined) return `href="${cidExplainer}${cid}" target="_blank" rel="noreferrer noopener"`
  const gateway = place.gateway === '' ? '' : escapeHtml(place.gateway)
  if (filename === undefined) return `href="${gateway}/ipfs/${cid}"`
  const name = isPlain(filename) ? filename : encodeURIComponent(encodeSegment(wellFormed(filename)))
  return `href="${gateway}/ipfs/${cid}?filename=${name}"`
}

/**
 * A link to the same content in another form. A CAR or tar of each folder is all that is below it again, once for every
 * level: crawlers are asked not to take it, and for those that only know to stay below where they began (`wget -r -np`)
 * it leads to the content's own CID.
 */
export function formLink(place: Place, cid: string, format: string, text: string): string {
  const content = place.gateway === undefined ? '' : `${escapeHtml(place.gateway)}/ipfs/${cid}`
  return `<a rel="nofollow" href="${content}?format=${format}">${text}</a>`
}

/** Most names need no escape, in HTML or in a URL, and a page has a thousand of them. */
export const isPlain = (name: string): boolean => /^[\w.~-]+$/.test(name)

/** The way from the content root to here, each step a link. */
export function breadcrumbs({ place, tail }: ContentRequest): string {
  const { namespace, root } = splitRoot(place)
  // An origin of its own has no path gateway below it: there the root is the site.
  const start = place.gateway === undefined ? place.origin : `${place.gateway}${place.contentRoot}`
  let href = escapeHtml(start)
  const parts = [link(place.gateway === undefined ? `${href}/` : href, root)]
  for (const segment of tail) {
    href += `/${encodeSegment(segment)}`
    parts.push(link(href, segment))
  }
  return `/${namespace}/${parts.join('/')}`
}

/** What the content is called where no path leads further: a CID, a key, a domain or a name. */
export function splitRoot({ contentRoot }: Place): { readonly namespace: string; readonly root: string } {
  const [, namespace = '', ...rest] = contentRoot.split('/')
  return { namespace: escapeHtml(namespace), root: decodeURIComponent(rest.join('/')) }
}

const link = (href: string, text: string): string => `<a href="${href}">${shown(text)}</a>`

/** `encodeURIComponent` throws on half a surrogate pair; a name is whatever its writer stored. */
export function wellFormed(name: string): string {
  return name.isWellFormed() ? name : name.toWellFormed()
}

/**
 * Text from outside as HTML. What has no shape of its own gets one: line breaks and other controls, and the marks that turn
 * the direction of text, by which `exe.jpg` could be shown for `gpj.exe`.
 */
export function shown(text: string): string {
  if (isPlain(text)) return text
  return escapeHtml(wellFormed(text).replace(/\p{Cc}|[\u200b\u2028-\u202e\u2066-\u2069\ufeff]/gu, visible))
}

function visible(char: string): string {
  const code = char.charCodeAt(0)
  if (code < 0x20) return String.fromCharCode(0x2400 + code)
  return code === 0x7f ? '\u2421' : '\ufffd'
}

/** `bafybe…k2m4ae`: enough to tell two apart. */
export function shortCid(cid: string): string {
  return cid.length <= 16 ? cid : `${cid.slice(0, 6)}…${cid.slice(-6)}`
}
