import { type IpnsName, parseIpnsName } from '../content/resolve-ipns.ts'
import { AppError } from '../errors.ts'
import { asUtf8 } from './request.ts'

/** `/ipns/<name>[/path]` as it was asked for. */
export interface IpnsPath {
  readonly name: IpnsName
  /** `/` and what was asked for below the name, as sent; empty when nothing was, not even the slash. */
  readonly below: string
  /** The same under the name's canonical spelling; undefined when that is what was asked for. */
  readonly canonical: string | undefined
}

/**
 * A name has one URL on the path gateway: that of the spelling which also fits a DNS label.
 * @param pathname starts with `/ipns/`
 * @throws AppError NAME_INVALID | PATH_INVALID
 */
export function parseIpnsPath(pathname: string): IpnsPath {
  const rest = pathname.slice('/ipns/'.length)
  const slash = rest.indexOf('/')
  const text = slash < 0 ? rest : rest.slice(0, slash)
  const below = slash < 0 ? '' : rest.slice(slash)
  const name = parseIpnsName(decoded(asUtf8(text)))
  return { name, below, canonical: text === name.name ? undefined : `/ipns/${name.name}${forHeader(below)}` }
}

/** What a header cannot carry, percent-encoded. */
function forHeader(text: string): string {
  return asUtf8(text).replace(/[^\x21-\x7e]+/g, (part) => encodeURIComponent(part.toWellFormed()))
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new AppError('PATH_INVALID', 'the path has a percent-encoding that is not UTF-8', { cause })
  }
}
