import { readFile } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { join, relative } from 'node:path'

export interface MemoryLimit {
  readonly bytes: number
  /** `cgroup`: of a container, a service, a pod; what goes beyond it is killed. `machine`: all that there is. */
  readonly from: 'cgroup' | 'machine'
}

/**
 * How much memory this process and its children may use together: the least of the limits of its cgroup and those above it
 * (cgroup v1 and v2), else what the machine has. Only what can be seen from inside a container is looked at, which is the
 * container's own cgroup and what lies below it.
 * @param root of the file system; for tests
 */
export async function memoryLimit(root = '/', machineBytes = totalmem()): Promise<MemoryLimit> {
  let bytes = Number.POSITIVE_INFINITY
  for (const { folder, mountPoint, file } of await cgroupsOf(root)) {
    for (let at = folder; ; at = join(at, '..')) {
      bytes = Math.min(bytes, limitIn(await text(join(at, file))))
      if (at === mountPoint || at === '/' || relative(mountPoint, at).startsWith('..')) break
    }
  }
  return bytes < machineBytes ? { bytes, from: 'cgroup' } : { bytes: machineBytes, from: 'machine' }
}

interface Cgroup {
  /** Of this process. */
  readonly folder: string
  readonly mountPoint: string
  /** That has its limit. */
  readonly file: string
}

async function cgroupsOf(root: string): Promise<Cgroup[]> {
  const paths = cgroupPaths(await text(join(root, 'proc/self/cgroup')))
  return mountsOf(await text(join(root, 'proc/self/mountinfo'))).flatMap(({ mountRoot, mountPoint, version }) => {
    const path = paths[version]
    if (path === undefined) return []
    const at = join(root, mountPoint)
    // Without a cgroup namespace the path is the host's, and what is mounted is the part of the tree that is ours.
    const below = mountRoot === '/' ? path : path.startsWith(mountRoot) ? path.slice(mountRoot.length) : '/'
    const file = version === 'v2' ? 'memory.max' : 'memory.limit_in_bytes'
    return [{ folder: join(at, below.includes('..') ? '/' : below), mountPoint: join(at, '.'), file }]
  })
}

/** cgroups(7): lines of `hierarchy:controllers:path`; v2 is the one without controllers. */
function cgroupPaths(file: string): { readonly v1?: string; readonly v2?: string } {
  const paths: { v1?: string; v2?: string } = {}
  for (const line of file.split('\n')) {
    const [, controllers, ...path] = line.split(':')
    if (controllers === '') paths.v2 = path.join(':')
    else if (controllers?.split(',').includes('memory')) paths.v1 = path.join(':')
  }
  return paths
}

interface Mount {
  readonly mountRoot: string
  readonly mountPoint: string
  readonly version: 'v1' | 'v2'
}

/** proc(5): `id parent major:minor root mountpoint options… - type source superoptions`. */
function mountsOf(file: string): Mount[] {
  return file.split('\n').flatMap((line): Mount[] => {
    const [before = '', after = ''] = line.split(' - ')
    const [, , , mountRoot = '/', mountPoint = '/'] = before.split(' ')
    const [type, , options = ''] = after.split(' ')
    if (type === 'cgroup2') return [{ mountRoot, mountPoint, version: 'v2' }]
    const isMemory = type === 'cgroup' && options.split(',').includes('memory')
    return isMemory ? [{ mountRoot, mountPoint, version: 'v1' }] : []
  })
}

/** v2 says `max` for none, v1 a number near 2^63. */
function limitIn(file: string): number {
  const bytes = /^\d+$/.test(file.trim()) ? Number(file) : 0
  return bytes > 0 && bytes < 2 ** 60 ? bytes : Number.POSITIVE_INFINITY
}

/** Empty for what is not there: other systems have no such files. */
const text = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '')
