import { parseCid } from '../content/get.ts'
import { isAppError } from '../errors.ts'

/**
 * Where `/ipfs/ipfs/<cid>…` and `/ipfs/ipns/<name>…` are meant to lead: whole paths get pasted into what puts `/ipfs/` before
 * them. Undefined for any other path, also for one that is wrong without the doubling too.
 * @param pathname as sent, like `search`
 */
export function undoubledLocation(pathname: string, search: string): string | undefined {
  const [, location, namespace, root = ''] = /^\/ipfs(\/(ip[fn]s)\/([^/]+)(?:\/.*)?)$/.exec(pathname) ?? []
  if (location === undefined || !/^[\x21-\x7e]*$/.test(location + search)) return undefined
  return namespace === 'ipns' || isCid(root) ? location + search : undefined
}

function isCid(text: string): boolean {
  try {
    parseCid(text)
    return true
  } catch (error) {
    if (isAppError(error)) return false
    throw error
  }
}
