import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { memoryLimit } from '../../src/lib/memory-limit.ts'
import { MiB } from '../../src/lib/units.ts'

/** A root of files as /proc and /sys show them. */
async function rootOf(files: Readonly<Record<string, string>>): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'stowage-cgroup-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), content)
  }
  return root
}

const machine = 8192 * MiB
const limitOf = async (files: Readonly<Record<string, string>>) => memoryLimit(await rootOf(files), machine)
const v2Mount = (mountRoot = '/') =>
  `24 30 0:22 / /proc rw - proc proc rw\n35 24 0:30 ${mountRoot} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n`
const v1Mount = (mountRoot = '/') =>
  `36 35 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n37 35 0:32 ${mountRoot} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n`
const noneV1 = '9223372036854771712\n'

test('v2: the limit of a container, as it sees itself', async () => {
  const files = { 'proc/self/cgroup': '0::/\n', 'proc/self/mountinfo': v2Mount() }
  expect(await limitOf({ ...files, 'sys/fs/cgroup/memory.max': '536870912\n' })).toEqual({
    bytes: 512 * MiB,
    from: 'cgroup',
  })
  expect(await limitOf({ ...files, 'sys/fs/cgroup/memory.max': 'max\n' })).toEqual({ bytes: machine, from: 'machine' })
})

test('v2: the least of a service and the slices above it counts', async () => {
  const at = 'sys/fs/cgroup/system.slice'
  const files = {
    'proc/self/cgroup': '0::/system.slice/stowage.service\n',
    'proc/self/mountinfo': v2Mount(),
    [`${at}/stowage.service/memory.max`]: 'max\n',
    [`${at}/memory.max`]: `${256 * MiB}\n`,
  }
  expect(await limitOf(files)).toEqual({ bytes: 256 * MiB, from: 'cgroup' })
  const lower = { ...files, [`${at}/stowage.service/memory.max`]: `${128 * MiB}\n` }
  expect((await limitOf(lower)).bytes).toBe(128 * MiB)
})

test('v1: by the memory controller, beside a v2 tree without one', async () => {
  const files = {
    'proc/self/cgroup': '4:memory:/process/abc\n1:cpu,cpuacct:/other\n0::/\n',
    'proc/self/mountinfo': v1Mount() + v2Mount().replaceAll('/sys/fs/cgroup', '/sys/fs/cgroup/unified'),
    'sys/fs/cgroup/memory/process/abc/memory.limit_in_bytes': `${512 * MiB}\n`,
    'sys/fs/cgroup/memory/process/memory.limit_in_bytes': noneV1,
    'sys/fs/cgroup/memory/memory.limit_in_bytes': noneV1,
  }
  expect(await limitOf(files)).toEqual({ bytes: 512 * MiB, from: 'cgroup' })
})

test.each(['/docker/0123', '/'])('v1: a container without a cgroup namespace, mounted at %s', async (mountRoot) => {
  const at = `sys/fs/cgroup/memory${mountRoot === '/' ? '/docker/0123' : ''}`
  const files = {
    'proc/self/cgroup': '4:memory:/docker/0123\n',
    'proc/self/mountinfo': v1Mount(mountRoot),
    [`${at}/memory.limit_in_bytes`]: `${512 * MiB}\n`,
  }
  expect(await limitOf(files)).toEqual({ bytes: 512 * MiB, from: 'cgroup' })
})

test('a path that lies outside of what is mounted is taken for the mount itself', async () => {
  const files = {
    'proc/self/cgroup': '0::/../other\n',
    'proc/self/mountinfo': v2Mount(),
    'sys/fs/cgroup/memory.max': `${64 * MiB}\n`,
  }
  expect((await limitOf(files)).bytes).toBe(64 * MiB)
})

test.each<[string, Record<string, string>]>([
  ['no such files', {}],
  [
    'files of nonsense',
    { 'proc/self/cgroup': 'x\n:::\n', 'proc/self/mountinfo': '- - -\n\n', 'sys/fs/cgroup/memory.max': '' },
  ],
  [
    'a limit above what there is',
    { 'proc/self/cgroup': '0::/\n', 'proc/self/mountinfo': v2Mount(), 'sys/fs/cgroup/memory.max': `${2 ** 40}\n` },
  ],
])('with %s it is the machine', async (_label, files) => {
  expect(await limitOf(files)).toEqual({ bytes: machine, from: 'machine' })
})
