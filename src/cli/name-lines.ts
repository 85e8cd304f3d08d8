import type { NameReply, NameVersionReply } from '../client/name-replies.ts'
import { formatBytes } from '../lib/units.ts'
import { printable } from './printable.ts'

/** `name -> cid (revision 17)`: what a change has made of a name. */
export function changeText(entry: NameReply): string {
  return `${printable(entry.name)} -> ${entry.cid} (revision ${entry.revision})`
}

/** Size, CID and name, like `ls`, and the revision before them. */
export function nameLine(entry: NameReply): string {
  return `${revisionText(entry.revision)}  ${sizeText(entry.size)}  ${entry.cid}  ${printable(entry.name)}${headsText(entry)}`
}

/** To whoever asks for one thing that a name stands for. */
export function conflictNotice({ name, heads }: NameReply): string {
  return `${name} was changed at ${heads} sites that did not hear each other: this is the latest; --json shows all, the next change replaces all`
}

/**
 * One step in the life of a name.
 * @param withSite where it was made, too
 */
export function versionLine(version: NameVersionReply, withSite = false): string {
  const site = withSite ? `${printable(version.site)}  ` : ''
  const what = version.verb === 'removed' ? '   removed' : `${sizeText(version.size)}  ${version.cid ?? ''}`
  return `${revisionText(version.revision)}  ${version.time}  ${printable(version.owner)}  ${site}${what}`
}

/** Sites changed it without hearing each other: one is served, the next change replaces all. */
const headsText = ({ heads }: NameReply) => (heads > 1 ? `  (${heads} heads)` : '')

const revisionText = (revision: number) => String(revision).padStart(8)

function sizeText(size: number | undefined): string {
  return (size === undefined ? '-' : formatBytes(size)).padStart(10)
}
