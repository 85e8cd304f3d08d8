import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Why power cuts cannot be had here; undefined when they can. They need root, loop devices and mkfs.ext4. */
export async function noPowerCuts(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'only Linux has loop devices'
  if (process.getuid?.() !== 0) return 'mounting needs root'
  let disk: PowerCutDisk | undefined
  try {
    disk = await PowerCutDisk.make(16)
    return undefined
  } catch (error) {
    return `no ext4 on a loop device: ${String(error instanceof Error ? error.message : error).split('\n')[0]}`
  } finally {
    await disk?.remove()
  }
}

/**
 * An ext4 of its own, in an image on a loop device, whose power can be cut: what lies in the page cache of its files and was not
 * given to the device is gone, as the image does not have it yet.
 */
export class PowerCutDisk {
  /** Where it is mounted. */
  readonly folder: string
  readonly #home: string

  private constructor(home: string) {
    this.#home = home
    this.folder = join(home, 'disk')
  }

  static async make(megabytes = 1536): Promise<PowerCutDisk> {
    const disk = new PowerCutDisk(await mkdtemp(join(tmpdir(), 'stowage-power-')))
    try {
      await mkdir(disk.folder)
      await run('truncate', ['-s', `${megabytes}M`, disk.#image])
      await run('mkfs.ext4', ['-q', '-F', disk.#image])
      await disk.#mount()
      return disk
    } catch (error) {
      await disk.remove()
      throw error
    }
  }

  /** The moment of the cut. Whoever writes to the disk has to stand still (SIGSTOP) meanwhile: a copy takes time, a cut none. */
  async cut(): Promise<void> {
    await run('cp', ['--sparse=always', this.#image, this.#copy])
  }

  /** The disk as it comes back. Whoever had a file open on it has to be gone. */
  async powerUp(): Promise<void> {
    await run('umount', [this.folder])
    await rename(this.#copy, this.#image)
    await this.#mount()
  }

  async remove(): Promise<void> {
    // Lazily: a process that a failed test left there must not keep the mount.
    await run('umount', ['-l', this.folder]).catch(() => undefined)
    await rm(this.#home, { recursive: true, force: true, maxRetries: 10 })
  }

  get #image(): string {
    return join(this.#home, 'image')
  }

  get #copy(): string {
    return join(this.#home, 'copy')
  }

  async #mount(): Promise<void> {
    await run('mount', ['-o', 'loop', this.#image, this.folder])
  }
}
