import { request as httpRequest } from 'node:http'
import { Readable } from 'node:stream'
import { expect, onTestFinished, type TestContext, test } from 'vitest'
import { MiB } from '../../src/lib/units.ts'
import { authorization, startApi } from '../support/api.ts'
import { badCars, root, whole } from '../support/bad-cars.ts'
import { carLimits, carV1, inChunks, node, raw } from '../support/cars.ts'

const { signal } = new AbortController()
// An endless CAR is to end soon.
const limits = { ...carLimits, uploadBytesMax: 64 * MiB }

async function* partsOf(car: Uint8Array | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* car instanceof Uint8Array ? inChunks(car, 65_536) : car
}

/** Sends without a length, and hears the answer while it still sends. */
function post(port: number, car: Uint8Array | AsyncIterable<Uint8Array>, query = '') {
  return new Promise<{ status: number | undefined; json: Record<string, unknown> }>((resolve, reject) => {
    const body = Readable.from(partsOf(car))
    const headers = { authorization, 'content-type': 'application/vnd.ipld.car' }
    const request = httpRequest(
      { port, path: `/api/v1/objects${query}`, method: 'POST', headers, agent: false },
      (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part
        })
        response.on('end', () => {
          body.destroy()
          request.destroy()
          resolve({ status: response.statusCode, json: JSON.parse(text) })
        })
      },
    )
    request.on('error', reject)
    body.on('error', reject).pipe(request)
  })
}

async function posted(onFinished: TestContext['onTestFinished'], car: Uint8Array | AsyncIterable<Uint8Array>) {
  const { port, blocks, logged } = await startApi(onFinished, { limits })
  const { status, json } = await post(port, car)
  return { status, json, rootIsHere: await blocks.has(root.cid, { signal }), logged }
}

test.each(badCars)('POST of a CAR with $group is $status, and no root is visible', async ({ car, code, status }) => {
  const result = await posted(onTestFinished, car())
  expect(result).toMatchObject({ status, json: { code: code.toLowerCase() }, rootIsHere: false, logged: [] })
})

test('POST of the CAR that they are made from is 201 (the control)', async () => {
  expect(await posted(onTestFinished, whole)).toMatchObject({ status: 201, rootIsHere: true })
})

test('POST of a CAR that lacks a block, or even its root, stores what it has when it is said to be partial', async () => {
  const { port, blocks } = await startApi(onTestFinished, { limits })
  const [here, missing] = [raw('here'), raw('missing')]
  const top = node([here, missing])
  const lacksLeaf = carV1([top.cid], [top, here])
  expect(await post(port, lacksLeaf)).toMatchObject({ status: 400, json: { hint: expect.stringContaining('partial') } })
  expect(await blocks.has(top.cid, { signal })).toBe(false)
  expect(await post(port, lacksLeaf, '?partial=false')).toMatchObject({ status: 400 })
  const stored = { status: 201, json: { cid: top.cid.toString(), roots: [top.cid.toString()], blocks: 2 } }
  expect(await post(port, lacksLeaf, '?partial=true')).toMatchObject(stored)
  expect(await blocks.has(top.cid, { signal })).toBe(true)
  expect(await post(port, carV1([missing.cid], [here]), '?partial')).toMatchObject({ status: 201, json: { blocks: 1 } })
  expect(await blocks.has(missing.cid, { signal })).toBe(false)
})

test.each([
  ['?partial=maybe', /true or false/],
  ['?chunk=1KiB', /partial/],
])('POST of a CAR with %s is refused with what is allowed', async (query, allowed) => {
  const { port } = await startApi(onTestFinished, { limits })
  expect(await post(port, whole, query)).toMatchObject({ status: 400, json: { hint: expect.stringMatching(allowed) } })
})

test('partial does not soften the rest: a block that does not hash to its CID is refused', async () => {
  const { port, blocks } = await startApi(onTestFinished, { limits })
  const [one, other] = [raw('one'), raw('other')]
  const car = carV1([one.cid], [{ cid: one.cid, bytes: other.bytes }])
  expect(await post(port, car, '?partial=true')).toMatchObject({ status: 400, json: { code: 'car_invalid' } })
  expect(await blocks.has(one.cid, { signal })).toBe(false)
})
