import { base32 } from 'multiformats/bases/base32'
import { base36 } from 'multiformats/bases/base36'
import type { CID } from 'multiformats/cid'
import { parseCid } from '../content/get.ts'
import { type IpnsName, parseIpnsName } from '../content/ipns-name.ts'
import { AppError, isAppError } from '../errors.ts'
import type { GatewayHost, Namespace } from './host.ts'
import type { Place } from './request.ts'

/** RFC 1035 §2.3.4. */
const labelLengthMax = 63
const tooLong = 'CID incompatible with DNS label length limit of 63'
const shownLengthMax = 100

/** What a subdomain stands for. */
export type Origin =
  | { readonly kind: 'content'; readonly cid: CID; readonly label: string }
  | { readonly kind: 'name'; readonly name: IpnsName }
  /** The label is another spelling of this one: all spellings share one origin. */
  | { readonly kind: 'moved'; readonly label: string }

/**
 * Where a path on a configured host leads to: the content's own origin. Undefined for a path without content. The path is
 * taken over as it is, so nothing is looked up.
 * @param pathname as sent, like `search`
 * @throws AppError CID_INVALID (the root is no CID, or too long for a label) | NAME_INVALID
 */
export function subdomainLocation(pathname: string, search: string, gateway: GatewayHost): string | undefined {
  const [, namespace, root = '', below = ''] = /^\/(ipfs|ipns)\/([^/]+)(\/.*)?$/.exec(pathname) ?? []
  if (namespace !== 'ipfs' && namespace !== 'ipns') return undefined
  const label = namespace === 'ipfs' ? contentLabel(cidOf(root, pathname)) : nameLabel(decoded(root))
  return locationAt(gateway, { namespace, label }, below || '/', search)
}

export function locationAt(
  { scheme, authority }: GatewayHost,
  { namespace, label }: { readonly namespace: Namespace; readonly label: string },
  pathname: string,
  search: string,
): string {
  return `${scheme}://${label}.${namespace}.${authority}${urlText(pathname)}${urlText(search)}`
}

/** @throws AppError CID_INVALID (the label is no CID, or the CID too long for one) | NAME_INVALID */
export function originOf(namespace: Namespace, label: string): Origin {
  if (namespace === 'ipfs') {
    const cid = cidOf(label, `/ipfs/${label}`)
    const canonical = contentLabel(cid)
    return canonical === label ? { kind: 'content', cid, label } : { kind: 'moved', label: canonical }
  }
  const name = nameOf(label)
  const canonical = name.kind === 'key' && name.name !== label
  return canonical ? { kind: 'moved', label: name.name } : { kind: 'name', name }
}

/** What is seen at a subdomain of that host. @param contentRoot `/ipfs/<cid>` or `/ipns/<name>` */
export function atSubdomain(
  { authority }: GatewayHost,
  { namespace, label }: { readonly namespace: Namespace; readonly label: string },
  contentRoot: string,
): Place {
  return { contentRoot, base: '', origin: `//${label}.${namespace}.${authority}`, gateway: `//${authority}` }
}

/** A label without dots is a key, or a domain name in one label. @throws AppError NAME_INVALID */
function nameOf(label: string): IpnsName {
  if (label.includes('.')) return parseIpnsName(label)
  const domain = uninlined(label)
  // A key has no dashes.
  return parseIpnsName(domain.includes('.') ? domain : label)
}

function nameLabel(text: string): string {
  const { kind, name } = parseIpnsName(text)
  return kind === 'key' ? (withinLimit(name) ?? fail(tooLong)) : inlined(name)
}

/** A domain name as one label, so that one wildcard certificate is enough: `-` becomes `--`, `.` becomes `-`. */
function inlined(domain: string): string {
  const label = domain.replaceAll('-', '--').replaceAll('.', '-')
  return withinLimit(label) ?? fail(`${shown(domain)} is a DNSLink name incompatible with DNS label length limit of 63`)
}

function uninlined(label: string): string {
  return label.replace(/--|-/g, (dashes) => (dashes === '--' ? '-' : '.'))
}

/** Base32, or the shorter base36 where only that fits. */
function contentLabel(cid: CID): string {
  const v1 = cid.toV1()
  return withinLimit(v1.toString(base32)) ?? withinLimit(v1.toString(base36)) ?? fail(tooLong)
}

function withinLimit(label: string): string | undefined {
  return label.length <= labelLengthMax ? label : undefined
}

function fail(message: string): never {
  throw new AppError('CID_INVALID', message, {
    hint: 'ask by the path gateway: the address 127.0.0.1 instead of a name',
  })
}

function cidOf(text: string, pathname: string): CID {
  try {
    return parseCid(decoded(text))
  } catch (error) {
    if (!isAppError(error, 'CID_INVALID')) throw error
    const { hint } = error
    throw new AppError('CID_INVALID', `invalid path ${shown(pathname)}: ${error.message}`, {
      cause: error,
      ...(hint === undefined ? {} : { hint }),
    })
  }
}

function decoded(text: string): string {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new AppError('PATH_INVALID', 'the path has a percent-encoding that is not UTF-8', { cause })
  }
}

function shown(text: string): string {
  return JSON.stringify(text.length > shownLengthMax ? `${text.slice(0, shownLengthMax)}…` : text)
}

/**
 * Part of a URL as it may stand in a header: what is not visible ASCII, or would mean something else to a browser (`\`),
 * is escaped, and escapes are written in capitals. `text` is as Node read it: one character a byte.
 */
export function urlText(text: string): string {
  return text
    .replace(/%[0-9a-f]{2}/gi, (escaped) => escaped.toUpperCase())
    .replace(
      /[^\x21-\x7e]|["<>\\^`{|}]/g,
      (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
    )
}

/**
 * `?uri=ipfs://<cid>/a`: how a browser hands over a link of a scheme that it has registered this gateway for.
 * @returns where it leads on this host; undefined when there is no `uri`
 * @throws AppError REQUEST_INVALID for any other scheme
 */
export function uriLocation(search: string): string | undefined {
  const uri = search.includes('uri=') ? new URLSearchParams(search).get('uri') : null
  if (uri === null || uri === '') return undefined
  const parts = /^(ipfs|ipns):\/\/([A-Za-z0-9._-]+)(\/[^?#]*)?(\?[^#]*)?(?:#.*)?$/i.exec(uri)
  if (parts === null) {
    throw new AppError('REQUEST_INVALID', 'the parameter uri is not ipfs://<cid> or ipns://<name>')
  }
  const [, scheme = '', root = '', pathname = '', query = ''] = parts
  // URLSearchParams has decoded it to characters; the URL wants the bytes of their UTF-8.
  const bytes = (text: string) => urlText(Buffer.from(text).toString('latin1'))
  return `/${scheme.toLowerCase()}/${root}${bytes(pathname)}${bytes(query)}`
}
