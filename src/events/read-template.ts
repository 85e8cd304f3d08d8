import { uuidLength, writeUuidv7 } from '../lib/uuid.ts'
import { isSubject } from '../nats/subject.ts'
import { type FrameHead, frameHead } from '../nats/wire-frames.ts'
import { encodeHeaders } from '../nats/wire-parser.ts'
import { authType, type EventSource } from './envelope.ts'
import type { ReadContext, ReadEntry } from './read-event.ts'

/** The same for all: encoded once. */
export const readHeaders = encodeHeaders([['Content-Type', 'application/cloudevents+json']])

const timeLength = 24
const latencyLengthMax = 24
const blankId = ' '.repeat(uuidLength)
const blankTime = ' '.repeat(timeLength)

/**
 * The event of a read but for what differs between two reads of the same: id, time and latency. Most reads are like one a
 * moment ago, and filling in costs a fifth of encoding.
 */
export class ReadTemplate {
  readonly frame: FrameHead
  readonly bytesMax: number
  /** Up to the latency, and from there. */
  readonly #front: Buffer
  readonly #back: Buffer
  /** In `#front`, where the id is repeated: the read is the root of its own undertaking. */
  readonly #idsInFront: readonly number[]
  readonly #idInBack: number
  readonly #timeInBack: number
  readonly #context: ReadContext
  readonly #record: ReadEntry

  /** The parts in the order of canonical JSON. @throws RangeError when the CID is none */
  constructor(context: ReadContext, record: ReadEntry, { domain, site, space, node }: EventSource) {
    const verb = record.status < 400 ? 'read' : 'missed'
    const cid = JSON.stringify(record.cid)
    const principal = JSON.stringify(context.principal)
    const correlation = context.correlation ? JSON.stringify(context.correlation) : `"${blankId}"`
    const who = `{"authid":${principal},"authtype":"${authType(context)}","causationid":`
    const and = `,"correlationid":`
    const front =
      `${who}${correlation}${and}${correlation},"data":{"bytes":${record.bytes},"cid":{"/":${cid}},` +
      `"format":${JSON.stringify(record.format)},"latencyMs":`
    const back =
      `,"name":${JSON.stringify(record.name)},"path":${JSON.stringify(record.path)},` +
      `"range":${JSON.stringify(record.range)},"status":${record.status}},` +
      `"datacontenttype":"application/json","id":"`
    const middle = `","owner":${principal},"source":"//${domain}/${site}/${node}","specversion":"1.0","subject":${cid},"time":"`
    const trace = context.traceparent === undefined ? '' : `"traceparent":${JSON.stringify(context.traceparent)},`
    this.frame = frameHead(`${domain}.reads.${site}.${space}.object.${verb}.${record.cid}`, readHeaders)
    this.#front = Buffer.from(front)
    this.#back = Buffer.from(`${back}${blankId}${middle}${blankTime}",${trace}"type":"${domain}.object.${verb}.v1"}`)
    const first = Buffer.byteLength(who) + 1
    this.#idsInFront = context.correlation ? [] : [first, first + uuidLength + 1 + and.length + 1]
    this.#idInBack = Buffer.byteLength(back)
    this.#timeInBack = this.#idInBack + uuidLength + Buffer.byteLength(middle)
    this.bytesMax = this.#front.byteLength + latencyLengthMax + this.#back.byteLength
    this.#context = context
    this.#record = record
  }

  /** In memory, about. */
  get bytes(): number {
    return this.bytesMax + this.frame.bytes.byteLength
  }

  fits(context: ReadContext, record: ReadEntry): boolean {
    const own = this.#record
    return (
      own.bytes === record.bytes &&
      own.status === record.status &&
      own.cid === record.cid &&
      own.path === record.path &&
      own.range === record.range &&
      own.format === record.format &&
      own.name === record.name &&
      (this.#context === context || sameContext(this.#context, context))
    )
  }

  /** @returns the end; at most `bytesMax` behind `at` */
  write(target: Uint8Array, at: number, latencyMs: number, timeMs: number): number {
    const front = this.#front
    const back = this.#back
    target.set(front, at)
    const backAt = writeThousandths(target, at + front.byteLength, latencyMs)
    target.set(back, backAt)
    const id = backAt + this.#idInBack
    writeUuidv7(target, id)
    for (const place of this.#idsInFront) copy(target, id, at + place, uuidLength)
    writeTime(target, backAt + this.#timeInBack, timeMs)
    return backAt + back.byteLength
  }
}

function sameContext(a: ReadContext, b: ReadContext): boolean {
  return (
    a.principal === b.principal && a.via === b.via && a.traceparent === b.traceparent && a.correlation === b.correlation
  )
}

/** A short one: a loop is faster than `copyWithin`. */
function copy(target: Uint8Array, from: number, to: number, length: number): void {
  for (let i = 0; i < length; i++) target[to + i] = target[from + i] ?? 0
}

const digitZero = 0x30
const point = 0x2e

/** As JSON has the number, rounded to three decimals. @returns the end */
function writeThousandths(target: Uint8Array, at: number, value: number): number {
  const thousandths = Math.round(value * 1000)
  if (!(thousandths >= 0 && thousandths < 1e9)) {
    const text = Number.isFinite(value) ? String(thousandths / 1000) : 'null'
    return at + Buffer.from(text).copy(target, at)
  }
  const whole = Math.floor(thousandths / 1000)
  let rest = thousandths - whole * 1000
  let end = at + 1
  for (let left = Math.floor(whole / 10); left > 0; left = Math.floor(left / 10)) end++
  for (let place = end, left = whole; place > at; left = Math.floor(left / 10))
    target[--place] = digitZero + (left % 10)
  if (rest === 0) return end
  target[end++] = point
  for (let unit = 100; rest > 0; unit /= 10) {
    const digit = Math.floor(rest / unit)
    target[end++] = digitZero + digit
    rest -= digit * unit
  }
  return end
}

const time = Buffer.alloc(timeLength)
let writtenMs = Number.NaN

function writeTime(target: Uint8Array, at: number, timeMs: number): void {
  if (timeMs !== writtenMs) {
    time.write(new Date(timeMs).toISOString(), 'latin1')
    writtenMs = timeMs
  }
  for (let i = 0; i < timeLength; i++) target[at + i] = time[i] ?? 0
}

/** Longer ones are made each time. */
const keptBytesMax = 4 * 1024
const keptMax = 1_024

/** The templates of the latest reads, by path; at most 4 MiB. */
export class ReadTemplates {
  readonly #source: EventSource
  readonly #byPath = new Map<string, ReadTemplate>()

  constructor(source: EventSource) {
    this.#source = source
  }

  /** Undefined where no subject can be made of the CID: a read never fails for its record. */
  of(context: ReadContext, record: ReadEntry): ReadTemplate | undefined {
    const kept = this.#byPath.get(record.path)
    if (kept?.fits(context, record)) return kept
    if (!isSubject(record.cid)) return undefined
    const template = new ReadTemplate(context, record, this.#source)
    // A traced or correlated read has no like.
    if (template.bytes > keptBytesMax || context.traceparent !== undefined || context.correlation) return template
    if (this.#byPath.size >= keptMax) this.#byPath.clear()
    this.#byPath.set(record.path, template)
    return template
  }
}
