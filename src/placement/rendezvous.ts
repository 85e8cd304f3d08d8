/** 32 bits of a text, well mixed (FNV-1a, then the finalizer of murmur3): the same everywhere and for ever. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  }
  return mixed(hash)
}

/**
 * Highest random weight: which place suits a root best is drawn for each pair of them, so that a place that comes or goes
 * moves only its own share.
 */
export function rendezvousScore(rootHash: number, placeHash: number): number {
  return mixed(rootHash ^ Math.imul(placeHash, 0x9e3779b1))
}

function mixed(value: number): number {
  let hash = value ^ (value >>> 16)
  hash = Math.imul(hash, 0x85ebca6b)
  hash ^= hash >>> 13
  hash = Math.imul(hash, 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
