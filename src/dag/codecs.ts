import * as dagCbor from '@ipld/dag-cbor'
import * as dagJson from '@ipld/dag-json'
import { CID } from 'multiformats/cid'
import type { Want } from '../blocks/blockstore.ts'
import { AppError, isAppError } from '../errors.ts'
import { KiB, MiB } from '../lib/units.ts'
import { dagPbCode, decodeDagPb, type PbLinks } from './dag-pb.ts'
import { checkCborNesting, checkJsonNesting } from './nesting.ts'

/** Multicodec codes; https://github.com/multiformats/multicodec/blob/master/table.csv */
export const codecs = {
  raw: 0x55,
  dagPb: dagPbCode,
  dagCbor: 0x71,
  dagJson: 0x0129,
  cbor: 0x51,
  json: 0x0200,
  libp2pKey: 0x72,
} as const

export interface NodeLimits {
  readonly nodeLinksMax: number
}

/**
 * The links of a block in their order, duplicates included; a block of a codec without links, or of one that we do not
 * know, has none. `bytes` of a Want is a guess at the linked block's size, from Tsize.
 * @throws AppError DAG_INVALID; LIMIT_EXCEEDED above `nodeLinksMax`
 */
export function linksOf(cid: CID, bytes: Uint8Array, limits: NodeLimits): Want[] {
  switch (cid.code) {
    case codecs.dagPb:
      return pbWants(decodeDagPb(bytes, limits).links)
    case codecs.dagCbor:
    case codecs.dagJson:
      return dataLinks(decodeData(cid, bytes), limits).map((link) => ({ cid: link }))
    default:
      return []
  }
}

/** Whether a block of this CID can have links at all, as far as we know its codec. */
export function mayLink({ code }: CID): boolean {
  return code === codecs.dagPb || code === codecs.dagCbor || code === codecs.dagJson
}

/** As `linksOf`; a block that cannot be decoded leads nowhere. @throws AppError LIMIT_EXCEEDED */
export function linksIfReadable(cid: CID, bytes: Uint8Array, limits: NodeLimits): Want[] {
  try {
    return linksOf(cid, bytes, limits)
  } catch (error) {
    if (isAppError(error, 'DAG_INVALID')) return []
    throw error
  }
}

function pbWants(links: PbLinks): Want[] {
  const wants: Want[] = []
  for (let index = 0; index < links.count; index++) {
    const cid = links.cid(index)
    const dagBytes = links.dagBytes(index)
    if (dagBytes === undefined) {
      wants.push({ cid })
      continue
    }
    // A raw block is its own DAG; of another, Tsize counts what is below it too.
    const bytesMax = cid.code === codecs.raw ? 2 * MiB : 256 * KiB
    wants.push({ cid, bytes: dagBytes > BigInt(bytesMax) ? bytesMax : Number(dagBytes) })
  }
  return wants
}

/** The value of a dag-cbor or dag-json block. @throws AppError DAG_INVALID */
export function decodeData(cid: CID, bytes: Uint8Array): unknown {
  try {
    if (cid.code === codecs.dagCbor) {
      checkCborNesting(bytes)
      return dagCbor.decode(bytes)
    }
    checkJsonNesting(bytes)
    return dagJson.decode(bytes)
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    const format = cid.code === codecs.dagCbor ? 'DAG-CBOR' : 'DAG-JSON'
    const why = cause instanceof Error ? cause.message.slice(0, 200) : 'unknown reason'
    throw new AppError('DAG_INVALID', `the block is not valid ${format}: ${why}`, { cause })
  }
}

/** Depth-first, in the order of the block. The value's depth is bounded, so recursion is safe. */
function dataLinks(value: unknown, limits: NodeLimits, found: CID[] = []): CID[] {
  const cid = typeof value === 'object' && value !== null ? CID.asCID(value) : null
  if (cid !== null) {
    if (found.push(cid) > limits.nodeLinksMax) {
      throw new AppError('LIMIT_EXCEEDED', `the node has more than ${limits.nodeLinksMax} links`, {
        hint: 'the setting NODE_LINKS_MAX bounds it',
        limit: 'node_links',
      })
    }
  } else if (Array.isArray(value)) {
    for (const item of value) dataLinks(item, limits, found)
  } else if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) {
    for (const item of Object.values(value)) dataLinks(item, limits, found)
  }
  return found
}
