import { createHash } from 'node:crypto'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { settleKeysSecret } from '../../src/auth/keys-secret.ts'
import { createAuth, settleAdminToken, type TokenFile, type TokenHashes } from '../../src/auth/token.ts'
import { tokenFile } from '../../src/auth/token-file.ts'
import { temporaryFolder } from '../support/serving.ts'

const hashOf = (token: string) => createHash('sha256').update(token).digest('hex')

function memoryHashes(stored?: string): TokenHashes & { value: string | undefined } {
  return {
    value: stored,
    async get() {
      return this.value
    },
    async create(_id, hash) {
      this.value ??= hash
      return this.value
    },
    async set(_id, hash) {
      this.value = hash
    },
  }
}

function memoryFile(token?: string): TokenFile & { value: string | undefined } {
  return {
    value: token,
    async read() {
      return this.value
    },
    async write(written) {
      this.value = written
    },
    async remove() {
      this.value = undefined
    },
  }
}

test('a crash between file and store leaves a token that the next start takes', async () => {
  const hashes = memoryHashes()
  const file = memoryFile()
  const crashing: TokenHashes = {
    ...hashes,
    get: async () => undefined,
    create: () => Promise.reject(new Error('crash')),
  }
  await expect(settleAdminToken(crashing, undefined, file, false)).rejects.toThrow('crash')
  const token = file.value ?? ''
  expect(token).toMatch(/^stw_/)
  expect(await settleAdminToken(hashes, undefined, file, false)).toEqual({ kind: 'kept', token })
  expect(hashes.value).toBe(hashOf(token))
})

test('of two nodes that make a token at the same time one wins, and the other keeps none', async () => {
  const hashes = memoryHashes()
  // Both have looked before either has stored.
  const late: TokenHashes = { ...hashes, get: async () => undefined, create: (id, hash) => hashes.create(id, hash) }
  const [first, second] = [memoryFile(), memoryFile()]
  expect((await settleAdminToken(late, undefined, first, false)).kind).toBe('made')
  expect(await settleAdminToken(late, undefined, second, false)).toEqual({ kind: 'elsewhere' })
  expect([hashOf(first.value ?? ''), second.value]).toEqual([hashes.value, undefined])
})

test('a token that is in the file but is not the valid one is not told as valid', async () => {
  const file = memoryFile('mine')
  expect(await settleAdminToken(memoryHashes(hashOf('theirs')), undefined, file, false)).toEqual({ kind: 'elsewhere' })
  expect(file.value).toBe('mine')
})

test('a given token replaces what was valid, and a second start with it writes nothing', async () => {
  const hashes = memoryHashes(hashOf('old'))
  const file = memoryFile('old')
  expect(await settleAdminToken(hashes, 'new', file, false)).toEqual({ kind: 'set', token: 'new' })
  expect([hashes.value, file.value]).toEqual([hashOf('new'), 'new'])
  const readOnly: TokenHashes = { ...memoryHashes(hashOf('new')), set: () => Promise.reject(new Error('written')) }
  expect((await settleAdminToken(readOnly, 'new', file, false)).kind).toBe('set')
})

test.each([
  ['Bearer right', true],
  ['bearer  right ', true],
  ['Bearer wrong', false],
  ['Bearer', false],
  ['Bearer right more', false],
  ['Basic right', false],
  ['right', false],
  [undefined, false],
])('%s: %s', async (header, accepted) => {
  const auth = createAuth(memoryHashes(hashOf('right')))
  if (accepted) expect(await auth.authenticate(header)).toEqual({ name: 'admin', kind: 'admin' })
  else await expect(auth.authenticate(header)).rejects.toMatchObject({ code: 'UNAUTHORIZED' })
})

test('without a hash nobody is admin, and nobody is told that a token is wrong', async () => {
  const auth = createAuth(memoryHashes())
  await expect(auth.authenticate('Bearer x')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await expect(auth.authenticate(undefined)).rejects.toMatchObject({ code: 'UNAUTHORIZED' })
})

test('an empty file of a server of our own has a new token made, and a crash in between does no harm', async () => {
  const hashes = memoryHashes(hashOf('lost'))
  const file = memoryFile('')
  const crashing: TokenFile = { ...file, read: async () => '', write: () => Promise.reject(new Error('crash')) }
  await expect(settleAdminToken(hashes, undefined, crashing, true)).rejects.toThrow('crash')
  const settled = await settleAdminToken(hashes, undefined, file, true)
  expect(settled).toEqual({ kind: 'renewed', token: file.value })
  expect(hashes.value).toBe(hashOf(file.value ?? ''))
  expect((await settleAdminToken(hashes, undefined, file, true)).kind).toBe('kept')
})

test('an empty file takes no token away from other nodes, and is told; before there is a token one is made', async () => {
  const hashes = memoryHashes(hashOf('known to others'))
  const file = memoryFile('')
  expect(await settleAdminToken(hashes, undefined, file, false)).toEqual({ kind: 'damaged' })
  expect([hashes.value, file.value]).toEqual([hashOf('known to others'), ''])
  expect((await settleAdminToken(memoryHashes(), undefined, file, false)).kind).toBe('made')
})

test('a token that was cut off is told as damaged, and makes no weak token valid', async () => {
  const hashes = memoryHashes(hashOf('stw_whole'))
  expect(await settleAdminToken(hashes, undefined, memoryFile('stw_'), true)).toEqual({ kind: 'damaged' })
  expect(hashes.value).toBe(hashOf('stw_whole'))
})

test.each(['', '\0'.repeat(44), ' \n', '\ufffd'])('a file of %j holds no token', async (text) => {
  const folder = await temporaryFolder(onTestFinished)
  await writeFile(join(folder, 'admin.token'), text)
  expect(await tokenFile(folder).read()).toBe('')
})

test('the secret of keys is made once, made anew where nothing was sealed, and never replaced under sealed keys', async () => {
  const [none, some] = [async () => false, async () => true]
  const file = memoryFile()
  const made = await settleKeysSecret(undefined, file, none)
  expect(made).toEqual({ kind: 'made', secret: file.value })
  expect(await settleKeysSecret(undefined, file, some)).toEqual({ kind: 'kept', secret: made.secret })
  for (const left of ['', undefined]) {
    const damaged = memoryFile(left)
    expect(await settleKeysSecret(undefined, damaged, some)).toEqual({ kind: 'lost', secret: undefined })
    expect(damaged.value).toBe(left)
  }
  expect((await settleKeysSecret(undefined, memoryFile(''), none)).kind).toBe('renewed')
  expect(await settleKeysSecret('given', undefined, some)).toEqual({ kind: 'given', secret: 'given' })
  expect((await settleKeysSecret(undefined, undefined, some)).kind).toBe('none')
})

test('the file is its owner’s alone, also over one that was open to all', async () => {
  const folder = await temporaryFolder(onTestFinished)
  await writeFile(join(folder, 'admin.token'), 'half', { mode: 0o666 })
  await tokenFile(folder).remove()
  const file = tokenFile(folder)
  expect(await file.read()).toBeUndefined()
  await file.write('token')
  expect(await file.read()).toBe('token')
  expect((await stat(join(folder, 'admin.token'))).mode & 0o777).toBe(0o600)
  await file.remove()
  expect(await file.read()).toBeUndefined()
})

test('a folder that cannot be written to is a clear error', async () => {
  const file = tokenFile(join(await temporaryFolder(onTestFinished), 'absent'))
  await expect(file.write('token')).rejects.toMatchObject({
    code: 'DATA_FOLDER_UNUSABLE',
    message: expect.stringContaining('ENOENT'),
  })
})
