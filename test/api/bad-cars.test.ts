import { request as httpRequest } from 'node:http'
import { Readable } from 'node:stream'
import { expect, onTestFinished, type TestContext, test } from 'vitest'
import { MiB } from '../../src/lib/units.ts'
import { authorization, startApi } from '../support/api.ts'
import { badCars, root, whole } from '../support/bad-cars.ts'
import { carLimits, inChunks } from '../support/cars.ts'

const { signal } = new AbortController()
// An endless CAR is to end soon.
const limits = { ...carLimits, uploadBytesMax: 64 * MiB }

async function* partsOf(car: Uint8Array | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* car instanceof Uint8Array ? inChunks(car, 65_536) : car
}

/** Sends without a length, and hears the answer while it still sends. */
function post(port: number, car: Uint8Array | AsyncIterable<Uint8Array>) {
  return new Promise<{ status: number | undefined; json: Record<string, unknown> }>((resolve, reject) => {
    const body = Readable.from(partsOf(car))
    const headers = { authorization, 'content-type': 'application/vnd.ipld.car' }
    const request = httpRequest(
      { port, path: '/api/v1/objects', method: 'POST', headers, agent: false },
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
