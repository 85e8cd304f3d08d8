import { openFilesMax } from '../lib/open-files.ts'

/** The share of open files that is kept for the store's connections, the files of a node and what it looks up. */
const reserveMin = 64
const reserveShare = 1 / 8
/** The gateway's share of what is left: most clients come for content. */
const gatewayShare = 3 / 4

export interface ConnectionShares {
  readonly gateway: number
  readonly api: number
}

/**
 * Connections that each listener may have, so that all of them together leave files to open for everything else: a node
 * that has none left can serve nobody. What one listener does not want, the other one may have.
 * @param filesMax undefined = nobody knows
 */
export function connectionShares(wanted: ConnectionShares, filesMax: number | undefined): ConnectionShares {
  if (filesMax === undefined || filesMax === Number.POSITIVE_INFINITY) return wanted
  const reserve = Math.max(reserveMin, Math.floor(filesMax * reserveShare))
  const all = Math.max(2, filesMax - reserve)
  if (wanted.gateway + wanted.api <= all) return wanted
  const api = Math.max(1, Math.min(wanted.api, Math.max(Math.floor(all * (1 - gatewayShare)), all - wanted.gateway)))
  return { gateway: Math.min(wanted.gateway, all - api), api }
}

/**
 * The connections that were wanted, or fewer where this process may not open so many files.
 * @returns `openFilesMax` where it made them fewer
 */
export async function fittingConnections(
  wanted: ConnectionShares,
): Promise<ConnectionShares & { readonly openFilesMax?: number }> {
  const filesMax = await openFilesMax()
  const shares = connectionShares(wanted, filesMax)
  return shares === wanted || filesMax === undefined ? shares : { ...shares, openFilesMax: filesMax }
}
