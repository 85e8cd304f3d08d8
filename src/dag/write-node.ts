import { createHash } from 'node:crypto'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import type { Attributes } from './import-options.ts'
import type { Layout } from './profile.ts'
import type { BlockSink } from './root-last.ts'

/** A node that was written: what a link to it says. */
export interface Written {
  readonly cid: CID
  /** The link's Tsize: bytes of all blocks of the DAG, counted once for each link to them. */
  readonly dagBytes: number
}

const sha256Code = 0x12
const rawCode = 0x55

const sha256 = (bytes: Uint8Array) => Digest.create(sha256Code, createHash('sha256').update(bytes).digest())

export async function writeRaw(bytes: Uint8Array, sink: BlockSink): Promise<Written> {
  const cid = CID.createV1(rawCode, sha256(bytes))
  await sink.put(cid, bytes)
  return { cid, dagBytes: bytes.byteLength }
}

/** A file in one block, for what a raw block cannot hold: attributes, or a profile without raw leaves. */
export function writeSmallFile(bytes: Uint8Array, attributes: Attributes, layout: Layout, sink: BlockSink) {
  // A file without bytes has no data field at all, as in Kubo.
  const data = bytes.byteLength === 0 ? {} : { data: bytes }
  return writeNode(new UnixFS({ type: 'file', ...data, ...unixfsAttributes(attributes) }), [], layout, sink)
}

export function writeSymlink(target: string, attributes: Attributes, layout: Layout, sink: BlockSink) {
  const data = new TextEncoder().encode(target)
  return writeNode(new UnixFS({ type: 'symlink', data, ...unixfsAttributes(attributes) }), [], layout, sink)
}

/** Writes a dag-pb node; the links are put into the order that dag-pb asks for. */
export async function writeNode(
  unixfs: UnixFS,
  links: readonly dagPb.PBLink[],
  layout: Layout,
  sink: BlockSink,
): Promise<Written> {
  return putNode(encodeNode(unixfs, links), links, layout, sink)
}

export function encodeNode(unixfs: UnixFS, links: readonly dagPb.PBLink[]): Uint8Array {
  return dagPb.encode(dagPb.prepare({ Data: unixfs.marshal(), Links: [...links] }))
}

/** Writes a node that `encodeNode` made of these links. */
export async function putNode(
  bytes: Uint8Array,
  links: readonly dagPb.PBLink[],
  layout: Layout,
  sink: BlockSink,
): Promise<Written> {
  const digest = sha256(bytes)
  const cid = layout.cidVersion === 0 ? CID.createV0(digest) : CID.createV1(dagPb.code, digest)
  await sink.put(cid, bytes)
  return { cid, dagBytes: links.reduce((sum, link) => sum + (link.Tsize ?? 0), bytes.byteLength) }
}

/** In the shape that ipfs-unixfs takes. */
export function unixfsAttributes({ mode, mtime }: Attributes) {
  return {
    ...(mode === undefined ? {} : { mode: mode & 0o7777 }),
    ...(mtime === undefined ? {} : { mtime: unixfsTime(mtime) }),
  }
}

function unixfsTime(mtime: Date): { secs: bigint; nsecs?: number } {
  const ms = mtime.getTime()
  const secs = Math.floor(ms / 1000)
  const nsecs = (ms - secs * 1000) * 1_000_000
  return nsecs === 0 ? { secs: BigInt(secs) } : { secs: BigInt(secs), nsecs }
}
