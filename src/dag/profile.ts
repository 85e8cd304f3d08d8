import { KiB, MiB } from '../lib/units.ts'
import type { ImportOptions, Profile } from './import-options.ts'

/** What decides how bytes become blocks, and so their CIDs. */
export interface Layout {
  readonly profile: Profile
  /** Of dag-pb nodes; raw leaves are always CIDv1. */
  readonly cidVersion: 0 | 1
  readonly rawLeaves: boolean
  readonly chunkBytes: number
  /** Links of a file node. */
  readonly linksMax: number
  readonly trickle: boolean
  /** What a flat directory is measured by: its block, or only the names and CIDs of its links. */
  readonly directorySize: 'block-bytes' | 'links-bytes'
}

/** https://specs.ipfs.tech/ipips/ipip-0499/ */
const layouts: Readonly<Record<Profile, Omit<Layout, 'profile' | 'trickle'>>> = {
  'unixfs-v1-2025': {
    cidVersion: 1,
    rawLeaves: true,
    chunkBytes: MiB,
    linksMax: 1024,
    directorySize: 'block-bytes',
  },
  'unixfs-v0-2015': {
    cidVersion: 0,
    rawLeaves: false,
    chunkBytes: 256 * KiB,
    linksMax: 174,
    directorySize: 'links-bytes',
  },
}

/** The profile with what the caller changed of it. */
export function layoutOf(options: ImportOptions): Layout {
  const layout = layouts[options.profile]
  return {
    ...layout,
    profile: options.profile,
    rawLeaves: options.rawLeaves ?? layout.rawLeaves,
    chunkBytes: options.chunkBytes ?? layout.chunkBytes,
    trickle: options.trickle ?? false,
  }
}
