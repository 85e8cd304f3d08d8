import { expect, onTestFinished, test } from 'vitest'
import { AppError, type ErrorCode, statusOf } from '../../src/errors.ts'
import { errorReply } from '../../src/gateway/errors.ts'
import { openGateway } from '../support/gateway.ts'

const evil = '"><img src=x onerror=alert(1)>\u202e\r\n'
const textOf = (error: unknown, accept: string) => {
  const { body } = errorReply(error, accept)
  return body.kind === 'whole' ? Buffer.from(body.bytes).toString() : ''
}

test('every failure says what to do, as a page, as JSON and as text', () => {
  for (const code of Object.keys(statusOf) as ErrorCode[]) {
    const error = new AppError(code, 'what went wrong')
    expect(JSON.parse(textOf(error, 'application/json')).hint, code).toMatch(/^\S.{15,}/)
    expect(textOf(error, 'text/html'), code).toMatch(/<p class="hint">.{15,}<\/p>/)
    expect(textOf(error, '*/*').split('\n'), code).toHaveLength(3)
  }
})

test('a hint of the failure itself comes first, and 412 has its own', () => {
  const error = new AppError('BLOCK_NOT_FOUND', 'gone', { hint: 'do this' })
  expect(JSON.parse(textOf(error, 'application/json'))).toEqual({
    code: 'block_not_found',
    message: 'gone',
    hint: 'do this',
  })
  const reply = errorReply(new AppError('BLOCK_NOT_FOUND', 'gone'), undefined, { onlyIfCached: true })
  expect(reply.status).toBe(412)
  expect(reply.body.kind === 'whole' && Buffer.from(reply.body.bytes).toString()).toContain('only-if-cached')
})

test('what a client sent is text in an error page, whatever it is', async () => {
  const page = textOf(new AppError('PATH_NOT_FOUND', evil, { hint: evil }), 'text/html')
  expect(page).not.toMatch(/<img/)
  expect(page).not.toContain('\u202e')
  const { ask } = await openGateway(onTestFinished)
  for (const path of [
    '/ipfs/%22%3E%3Cscript%3E',
    '/<script>alert(1)</script>',
    '/ipfs/bafkqaaa/%3Cscript%3E?format=<script>',
  ]) {
    const answer = await ask(path, { headers: { accept: 'text/html' } })
    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(answer.text).not.toMatch(/<script/)
    expect(answer.headers['content-security-policy']).toMatch(/^default-src 'none'/)
    expect(answer.headers['cache-control']).toBe('no-store')
  }
})

test('what is typed on the home page leads to a path of this gateway, and to nothing else', async () => {
  const { ask } = await openGateway(onTestFinished)
  const home = await ask('/', { headers: { accept: 'text/html' } })
  expect(home.text).toContain('<form action="/" method="get">')
  expect(home.headers['content-security-policy']).not.toContain('form-action')
  const open = async (typed: string) => {
    const { status, headers } = await ask(`/?open=${encodeURIComponent(typed)}`)
    return status === 302 ? headers.location : status
  }
  expect(await open(' bafkqaaa ')).toBe('/ipfs/bafkqaaa')
  expect(await open('/ipfs/bafkqaaa/a b/ą/')).toBe('/ipfs/bafkqaaa/a%20b/%C4%85/')
  expect(await open('ipfs://bafkqaaa/a%20b?x#y')).toBe('/ipfs/bafkqaaa/a%20b')
  expect(await open('https://other.example/ipfs/bafkqaaa/x')).toBe('/ipfs/bafkqaaa/x')
  expect(await open('ipns://docs.example.org/x')).toBe('/ipns/docs.example.org/x')
  expect(await open('/names/docs/a.txt@7')).toBe('/names/docs/a.txt%407')
  expect(await open('/ipns///evil.example')).toBe('/ipns/evil.example')
  for (const wrong of [
    '',
    '//evil.example',
    'javascript:alert(1)',
    '/ipfs/x',
    'bafkqaaa/../..',
    '/ipns/%ff',
    'bafkqaaa\r\nx: y',
  ]) {
    expect(await open(wrong), wrong).toBe(400)
  }
})
