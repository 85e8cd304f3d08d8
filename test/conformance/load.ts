import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import type { NodeProcess } from '../support/node-process.ts'
import type { Fixtures } from './suite.ts'

export interface Loaded {
  readonly cars: number
  readonly records: number
  /** Records that the node did not take, with its reason: the suite has three that are invalid on purpose. */
  readonly refused: readonly string[]
  readonly dnslinks: number
}

/** Puts the suite's fixtures into a node, over its API. @throws Error when it refuses a CAR or a DNSLink */
export async function loadFixtures(node: NodeProcess, { cars, records, dnslinks }: Fixtures): Promise<Loaded> {
  const send = (method: string, path: string, type: string, body: string | Buffer) =>
    fetch(`${node.apiUrl}${path}`, {
      method,
      body: typeof body === 'string' ? body : new Uint8Array(body),
      headers: { 'content-type': type, authorization: `Bearer ${node.token}` },
    })
  for (const file of cars) {
    // One lacks a block on purpose.
    const reply = await send('POST', '/api/v1/objects?partial=true', 'application/vnd.ipld.car', await readFile(file))
    if (!reply.ok) throw new Error(`${basename(file)}: ${reply.status} ${await reply.text()}`)
  }
  const refused: string[] = []
  for (const file of records) {
    const [key = ''] = basename(file, '.ipns-record').split('_', 1)
    const type = 'application/vnd.ipfs.ipns-record'
    const reply = await send('PUT', `/api/v1/ipns/${key}`, type, await readFile(file))
    if (!reply.ok) refused.push(`${basename(file)}: ${reply.status} ${(await reply.text()).trim()}`)
  }
  for (const [domain, path] of Object.entries(dnslinks)) {
    const reply = await send('PUT', `/api/v1/ipns/${domain}`, 'text/plain', path)
    if (!reply.ok) throw new Error(`${domain}: ${reply.status} ${await reply.text()}`)
  }
  return {
    cars: cars.length,
    records: records.length - refused.length,
    refused,
    dnslinks: Object.keys(dnslinks).length,
  }
}
