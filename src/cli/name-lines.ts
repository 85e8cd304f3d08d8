import type { NameReply, NameVersionReply } from '../client/name-replies.ts'
import { formatBytes } from '../lib/units.ts'
import { printable } from './printable.ts'

/** `name -> cid (revision 17)`: what a change has made of a name. */
export function changeText(entry: NameReply): string {
  return `${printable(entry.name)} -> ${entry.cid} (revision ${entry.revision})`
}

/** Size, CID and name, like `ls`, and the revision before them. */
export function nameLine(entry: NameReply): string {
  return `${revisionText(entry.revision)}  ${sizeText(entry.size)}  ${entry.cid}  ${printable(entry.name)}`
}

/** One step in the life of a name. */
export function versionLine(version: NameVersionReply): string {
  const what = version.verb === 'removed' ? '   removed' : `${sizeText(version.size)}  ${version.cid ?? ''}`
  return `${revisionText(version.revision)}  ${version.time}  ${printable(version.owner)}  ${what}`
}

const revisionText = (revision: number) => String(revision).padStart(8)

function sizeText(size: number | undefined): string {
  return (size === undefined ? '-' : formatBytes(size)).padStart(10)
}
