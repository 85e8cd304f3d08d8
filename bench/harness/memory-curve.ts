import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { NodeProcess } from '../../test/support/node-process.ts'
import type { HttpResult } from './http-job.ts'
import { runJob } from './run-job.ts'

export interface MemorySample {
  readonly seconds: number
  readonly rssBytes: number
}

/** Resident memory of the node over one transfer. */
export interface MemoryCurve {
  readonly seconds: number
  readonly samples: readonly MemorySample[]
  /** The highest at any moment where the kernel keeps it (Linux), else of the samples. */
  readonly maxBytes: number
}

const sampleMs = 100

export async function uploadCurve(
  node: NodeProcess,
  bytes: number,
): Promise<MemoryCurve & { readonly cid: string; readonly newBlocks: number }> {
  const headers = { authorization: `Bearer ${node.token}`, 'content-type': 'application/octet-stream' }
  const job = { kind: 'upload', url: `${node.apiUrl}/api/v1/objects`, headers, body: bytes }
  const { curve, result } = await watch(node.pid, () => runJob<HttpResult>('http-client.ts', job))
  const { cid, newBlocks } = JSON.parse(result.reply) as { cid: string; newBlocks: number }
  return { ...curve, cid, newBlocks }
}

/** A reader that takes no more than so many bytes a second and leaves the rest to the node to hold back. */
export async function slowDownloadCurve(
  node: NodeProcess,
  path: string,
  bytesPerSecond: number,
): Promise<MemoryCurve & { readonly bytes: number }> {
  const job = { kind: 'download', url: `${node.gatewayUrl}${path}`, bytesPerSecond }
  const { curve, result } = await watch(node.pid, () => runJob<HttpResult>('http-client.ts', job))
  return { ...curve, bytes: result.bytes }
}

async function watch<Result>(pid: number, work: () => Promise<Result>) {
  await forgetPeak(pid)
  const samples: MemorySample[] = []
  const start = performance.now()
  const sample = async () => {
    const { rssBytes } = await residentMemory(pid)
    samples.push({ seconds: (performance.now() - start) / 1000, rssBytes })
  }
  let failure: unknown
  const timer = setInterval(() => {
    sample().catch((error: unknown) => {
      failure ??= error
    })
  }, sampleMs)
  try {
    const result = await work()
    await sample()
    if (failure !== undefined) throw failure
    const { peakBytes } = await residentMemory(pid)
    const maxBytes = Math.max(peakBytes, ...samples.map(({ rssBytes }) => rssBytes))
    return { result, curve: { seconds: (performance.now() - start) / 1000, samples, maxBytes } }
  } finally {
    clearInterval(timer)
  }
}

/** Linux keeps a process's highest value; 5 sets it back to the present one. */
async function forgetPeak(pid: number): Promise<void> {
  if (process.platform === 'linux') await writeFile(`/proc/${pid}/clear_refs`, '5')
}

async function residentMemory(pid: number): Promise<{ readonly rssBytes: number; readonly peakBytes: number }> {
  if (process.platform !== 'linux') {
    const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', String(pid)])
    return { rssBytes: Number(stdout) * 1024, peakBytes: 0 }
  }
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const read = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) * 1024
  return { rssBytes: read('VmRSS'), peakBytes: read('VmHWM') }
}
