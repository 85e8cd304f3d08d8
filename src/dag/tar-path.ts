import { AppError } from '../errors.ts'
import { MiB } from '../lib/units.ts'

const pathBytesMax = 16_384
/** Of the paths of symlinks that are remembered. */
const symlinkPathBytesMax = 16 * MiB

/**
 * The paths of a tar's entries. Whoever extracts it must end up below the top entry and nowhere else, whatever program does
 * it: so a name that leaves the top, or that one system would read as several segments, is refused, and so is an entry
 * that would be written through a symlink of the same archive.
 */
export class TarPaths {
  readonly #symlinks = new Set<string>()
  #symlinkBytes = 0

  /**
   * @param parent the name of the top entry, or a path that this method gave
   * @throws AppError DAG_INVALID | LIMIT_EXCEEDED
   */
  below(parent: string, name: string, isSymlink: boolean): string {
    const path = resolved(parent, name).join('/')
    if (Buffer.byteLength(path) > pathBytesMax) {
      throw new AppError('LIMIT_EXCEEDED', `a path in the tar has more than ${pathBytesMax} bytes`, {
        limit: 'path_bytes',
      })
    }
    this.#checkSymlinks(path, name)
    if (isSymlink) this.#remember(path)
    return path
  }

  #checkSymlinks(path: string, name: string): void {
    if (this.#symlinks.size === 0) return
    const key = folded(path)
    for (let end = key.indexOf('/'); end !== -1; end = key.indexOf('/', end + 1)) {
      if (this.#symlinks.has(key.slice(0, end))) throw refused(name, 'it lies below a symlink')
    }
    if (this.#symlinks.has(key)) throw refused(name, 'a symlink has the same name')
  }

  #remember(path: string): void {
    const key = folded(path)
    this.#symlinks.add(key)
    this.#symlinkBytes += 2 * key.length
    if (this.#symlinkBytes > symlinkPathBytesMax) {
      throw new AppError(
        'LIMIT_EXCEEDED',
        `the symlinks in the tar have more than ${symlinkPathBytesMax} bytes of paths`,
        { limit: 'held_bytes' },
      )
    }
  }
}

/** File systems take `A` and `a`, or two spellings of one letter, for the same name. */
function folded(path: string): string {
  return path.normalize('NFC').toLowerCase()
}

/**
 * A name is one segment. The only other form that is taken is a segment after leading `../`, as long as it stays below the
 * top (IPIP-288 has such content).
 */
function resolved(parent: string, name: string): string[] {
  const segments = parent.split('/')
  const parts = name.split('/')
  const last = parts.pop() ?? ''
  for (const part of parts) {
    if (part !== '..') throw refused(name, 'it has a slash')
    segments.pop()
    if (segments.length === 0) throw refused(name, 'it leads out of the directory')
  }
  if (last === '' || last === '.' || last === '..') throw refused(name, 'it is no name of a file')
  if (last.includes('\0')) throw refused(name, 'it has a NUL')
  if (last.split('\\').some((part) => part === '..') || /^([a-z]:)?\\/i.test(last)) {
    throw refused(name, 'it leads out of the directory on Windows')
  }
  segments.push(last)
  return segments
}

function refused(name: string, why: string): AppError {
  const shown = name.length > 100 ? `${name.slice(0, 100)}…` : name
  return new AppError('DAG_INVALID', `${JSON.stringify(shown)} cannot be in a tar: ${why}`, {
    hint: 'ask for ?format=car, or for single entries',
  })
}
