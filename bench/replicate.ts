import { setTimeout as delay } from 'node:timers/promises'
import { MiB } from '../src/lib/units.ts'
import type { Bench } from './harness/bench.ts'
import { cpuTimeOf } from './harness/cpu-time.ts'
import { type Stowage, startStowage } from './harness/stowage.ts'

const objectBytes = 64 * MiB
const smallObjects = 10_000
const putsAtOnce = 64
const waitMs = 1_800_000
const probeBytes = 64 * 1024
const pollMs = 50

/**
 * What does it cost to make all copies of a store again, and what do readers feel of it? One node with one nats-server: all
 * content in the store that takes puts, then a policy of two copies, which makes a second store. Then small objects that are
 * to lie in two of three stores, spread evenly.
 */
export async function replicate(bench: Bench): Promise<void> {
  const node = await startStowage(bench, { STOWAGE_READS_LOG: 'off' })
  const probe = await node.add(probeBytes, 'application/octet-stream')
  const files = Math.max(1, Math.round(bench.sizeBytes / objectBytes))
  for (let i = 0; i < files; i++) await node.add(objectBytes, 'application/octet-stream')
  const before = await latencies(node, probe.cid, async () => delay(5_000))
  const cpu = await cpuOf(node)
  const startedMs = performance.now()
  const meanwhile = await latencies(node, probe.cid, async () => {
    await setPolicy(node, { copies: 2 })
    await verifiedCopies(node, files + 1)
  })
  const seconds = (performance.now() - startedMs) / 1000
  const cpuSeconds = (await cpuOf(node)) - cpu
  const mebibytes = (files * objectBytes) / MiB
  console.log(
    `${mebibytes} MiB copied into a new store and read back: ${(mebibytes / seconds).toFixed(1)} MiB/s, ` +
      `${((2 * mebibytes) / cpuSeconds).toFixed(1)} MiB/s on two free cores (by CPU of node and server)`,
  )
  console.log(
    `get of 64 KiB: p50 ${before.p50.toFixed(1)}, p99 ${before.p99.toFixed(1)} ms; meanwhile p50 ` +
      `${meanwhile.p50.toFixed(1)}, p99 ${meanwhile.p99.toFixed(1)} ms (${(meanwhile.p99 / before.p99).toFixed(2)} x)`,
  )
  await node.stop()
  await spread(bench)
}

/** Alone with three copies first, so that there are three stores; then two of everything. */
async function spread(bench: Bench): Promise<void> {
  const node = await startStowage(bench, { STOWAGE_READS_LOG: 'off' })
  await setPolicy(node, { copies: 3 })
  await node.add(1024, 'application/octet-stream')
  await verifiedCopies(node, 2)
  await setPolicy(node, { copies: 2, spread: 'store' })
  const { apiUrl, token } = node.node()
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' }
  const cpu = await cpuOf(node)
  const startedMs = performance.now()
  let next = 0
  await Promise.all(
    Array.from({ length: putsAtOnce }, async () => {
      for (let i = next++; i < smallObjects; i = next++) {
        const body = `object ${i} of the bench ${startedMs}`
        const reply = await fetch(`${apiUrl}/api/v1/objects`, { method: 'POST', headers, body })
        if (!reply.ok) throw new Error(`put: ${reply.status} ${await reply.text()}`)
        await reply.arrayBuffer()
      }
    }),
  )
  const putSeconds = (performance.now() - startedMs) / 1000
  const counts = await settledCounts(node)
  const seconds = (performance.now() - startedMs) / 1000
  const share = [...counts.values()].reduce((sum, count) => sum + count, 0) / counts.size
  const furthest = Math.max(...[...counts.values()].map((count) => Math.abs(count - share) / share))
  console.log(
    `${smallObjects} small objects, put in ${putSeconds.toFixed(1)} s, two copies each in three stores after ` +
      `${seconds.toFixed(1)} s: ${[...counts].map(([at, count]) => `${at} ${count}`).join(', ')}; furthest from its share ` +
      `${(furthest * 100).toFixed(1)} %; ${((((await cpuOf(node)) - cpu) / smallObjects) * 1e6).toFixed(0)} us of CPU each`,
  )
  await node.stop()
}

async function cpuOf(node: Stowage): Promise<number> {
  const { node: ofNode, server } = await cpuTimeOf(node)
  return (ofNode + server) / 1000
}

async function setPolicy(node: Stowage, rule: object): Promise<void> {
  const { apiUrl, token } = node.node()
  const body = JSON.stringify({ version: 1, rules: [{ name: 'bench', ...rule }] })
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const reply = await fetch(`${apiUrl}/api/v1/policies/main`, { method: 'PUT', body, headers })
  if (!reply.ok) throw new Error(`${reply.status} ${await reply.text()}`)
}

interface CopyEvent {
  readonly type: string
  readonly data: { readonly cid: { readonly '/': string }; readonly site?: string; readonly store?: string }
}

async function copyEvents(node: Stowage): Promise<readonly CopyEvent[]> {
  const { apiUrl, token } = node.node()
  const headers = { authorization: `Bearer ${token}`, accept: 'application/x-ndjson' }
  const reply = await fetch(`${apiUrl}/api/v1/events?follow=false&entity=copy`, { headers })
  const lines = (await reply.text()).split('\n').filter((line) => line !== '')
  return lines.flatMap((line) => {
    const value = JSON.parse(line) as Partial<CopyEvent> & { readonly event?: CopyEvent }
    const { type, data } = value.event ?? value
    // Lines that only say how far it has come.
    return type === undefined || data === undefined ? [] : [{ type, data }]
  })
}

async function verifiedCopies(node: Stowage, wanted: number): Promise<void> {
  const endMs = performance.now() + waitMs
  for (;;) {
    const count = (await copyEvents(node)).filter(({ type }) => type.includes('copy.verified')).length
    if (count >= wanted) return
    if (performance.now() > endMs) throw new Error(`${count} of ${wanted} copies after ${waitMs} ms`)
    await delay(10 * pollMs)
  }
}

/** Copies by store, once nothing changes any more. */
async function settledCounts(node: Stowage): Promise<ReadonlyMap<string, number>> {
  for (let before = -1; ; ) {
    const events = await copyEvents(node)
    if (events.length === before) {
      const places = new Map<string, Set<string>>()
      const at = (cid: string) => places.get(cid) ?? places.set(cid, new Set(['local/a'])).get(cid)
      for (const { type, data } of events) {
        const place = `${data.site}/${data.store}`
        if (type.includes('copy.verified')) at(data.cid['/'])?.add(place)
        if (type.includes('copy.removed')) at(data.cid['/'])?.delete(place)
      }
      const counts = new Map<string, number>()
      for (const place of [...places.values()].flatMap((all) => [...all]))
        counts.set(place, (counts.get(place) ?? 0) + 1)
      return counts
    }
    before = events.length
    await delay(100 * pollMs)
  }
}

/** Of gets one after the other, while `work` is under way. In ms. */
async function latencies(node: Stowage, cid: string, work: () => Promise<unknown>) {
  const url = `${node.node().gatewayUrl}/ipfs/${cid}`
  const took: number[] = []
  let done = false
  const working = work().finally(() => {
    done = true
  })
  while (!done) {
    const fromMs = performance.now()
    await (await fetch(url)).arrayBuffer()
    took.push(performance.now() - fromMs)
    await delay(pollMs / 5)
  }
  await working
  took.sort((a, b) => a - b)
  const at = (share: number) => took[Math.floor((took.length - 1) * share)] ?? 0
  return { p50: at(0.5), p99: at(0.99) }
}
