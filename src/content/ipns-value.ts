import { parseCid } from '../dag/cid.ts'
import { contentPath, type PathOptions } from '../dag/path.ts'
import type { ContentPath } from '../dag/target.ts'
import { AppError } from '../errors.ts'
import { type IpnsName, parseIpnsName } from './ipns-name.ts'

/** What an IPNS record or a DNSLink points to. */
export type IpnsValue =
  | { readonly kind: 'content'; readonly path: ContentPath }
  /** To be looked up in its turn; `segments` go on below what it stands for. */
  | { readonly kind: 'name'; readonly name: IpnsName; readonly segments: readonly string[] }

/**
 * `/ipfs/<cid>[/path]` or `/ipns/<name>[/path]`. The path is as it is, not percent-encoded.
 * @throws AppError IPNS_INVALID | CID_INVALID | NAME_INVALID | PATH_INVALID
 */
export function parseIpnsValue(text: string, options: PathOptions): IpnsValue {
  const [empty, namespace, root = '', ...rest] = text.replace(/\/$/, '').split('/', options.pathSegmentsMax + 4)
  if (empty === '' && namespace === 'ipfs') {
    return { kind: 'content', path: contentPath(parseCid(root), rest, options) }
  }
  if (empty === '' && namespace === 'ipns') return { kind: 'name', name: parseIpnsName(root), segments: rest }
  const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text
  throw new AppError('IPNS_INVALID', `${JSON.stringify(shown)} is no path of content`, {
    hint: 'a value looks like /ipfs/<cid>, /ipfs/<cid>/path or /ipns/<name>',
  })
}
