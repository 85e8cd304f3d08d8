import * as dagPb from '@ipld/dag-pb'
import type { CID } from 'multiformats/cid'
import { hashBlock } from '../blocks/block.ts'
import type { Chunk } from './chunk.ts'
import type { Attributes } from './import-options.ts'
import type { Layout } from './profile.ts'
import type { BlockSink } from './root-last.ts'
import { encodeUnixfs, type UnixfsFields } from './unixfs-encode.ts'

/** A node that was written: what a link to it says. */
export interface Written {
  readonly cid: CID
  /** The link's Tsize: bytes of all blocks of the DAG, counted once for each link to them. */
  readonly dagBytes: number
}

const rawCode = 0x55

export async function writeRaw({ bytes, release }: Chunk, sink: BlockSink): Promise<Written> {
  const block = hashBlock(bytes, rawCode, 1, release)
  const dagBytes = bytes.byteLength
  await sink.put(block)
  return { cid: block.cid, dagBytes }
}

/** A file in one block, for what a raw block cannot hold: attributes, or a profile without raw leaves. */
export function writeSmallFile(
  bytes: Uint8Array,
  attributes: Attributes,
  layout: Layout,
  sink: BlockSink,
  type: 'file' | 'raw' = 'file',
): Promise<Written> {
  // A file without bytes has no data field at all, as in Kubo.
  const data = bytes.byteLength === 0 ? undefined : bytes
  return writeNode({ type, data, fileBytes: bytes.byteLength, ...permissions(attributes) }, [], layout, sink)
}

/** It has a time, and no permission bits: those of links mean nothing, and Kubo keeps none. */
export function writeSymlink(target: string, { mtime }: Attributes, layout: Layout, sink: BlockSink) {
  const data = new TextEncoder().encode(target)
  return writeNode({ type: 'symlink', data, mtime }, [], layout, sink)
}

/** Writes a dag-pb node; the links are put into the order that dag-pb asks for. */
export async function writeNode(
  fields: UnixfsFields,
  links: readonly dagPb.PBLink[],
  layout: Layout,
  sink: BlockSink,
): Promise<Written> {
  return putNode(encodeNode(fields, links), links, layout, sink)
}

export function encodeNode(fields: UnixfsFields, links: readonly dagPb.PBLink[]): Uint8Array {
  return dagPb.encode(dagPb.prepare({ Data: encodeUnixfs(fields), Links: [...links] }))
}

/** Writes a node that `encodeNode` made of these links. */
export async function putNode(
  bytes: Uint8Array,
  links: readonly dagPb.PBLink[],
  layout: Layout,
  sink: BlockSink,
): Promise<Written> {
  const block = hashBlock(bytes, dagPb.code, layout.cidVersion)
  await sink.put(block)
  return { cid: block.cid, dagBytes: links.reduce((sum, link) => sum + (link.Tsize ?? 0), bytes.byteLength) }
}

/** The attributes as fields of a node. */
export function permissions({ mode, mtime }: Attributes): Pick<UnixfsFields, 'mode' | 'mtime'> {
  return { mode: mode === undefined ? undefined : mode & 0o7777, mtime }
}
