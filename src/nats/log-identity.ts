import { createHash } from 'node:crypto'
import { JetStreamApiError, type StreamConfig, type StreamInfo } from '@nats-io/jetstream'
import type { Nats } from './connection.ts'
import { TransientError } from './requests.ts'

/** A run of sequences, both ends included. */
export type SequenceRange = readonly [first: number, last: number]

/**
 * Which log a stream is. Sequences alone do not say: a log that lost its end gives the same ones out again. It lies in the
 * stream's metadata, as JSON under `stowage.log`.
 */
export interface LogIdentity {
  /** Made when the log was made, and made anew when a loss was accepted. */
  readonly epoch: string
  /** Epochs of this log before, the newest last: what was folded then is to be folded anew. */
  readonly retired: readonly string[]
  /** Sequences that cannot be read any more, and whose loss was accepted. In order. */
  readonly holes: readonly SequenceRange[]
}

/** A stream as its leader counts it. */
export interface LogState {
  readonly identity: LogIdentity
  /** Sequence of the last event; 0 = there was never one. */
  readonly last: number
  /** Sequences up to the last one that have no event, as far as the server knows. */
  readonly missing: number
}

export const identityKey = 'stowage.log'
const retiredMax = 16
const noMessageFound = 10037
const consumerNotFound = 10014

export const firstIdentity = (epoch: string): LogIdentity => ({ epoch, retired: [], holes: [] })

export const identityText = (identity: LogIdentity): string => JSON.stringify(identity)

/**
 * @param known epochs that something was folded in: of a log that is gone as well
 * @param holes of the log as it is now, all accepted
 */
export function nextIdentity(
  identity: LogIdentity,
  epoch: string,
  known: readonly string[],
  holes: readonly SequenceRange[],
): LogIdentity {
  const retired = [...new Set([...identity.retired, ...known, identity.epoch])]
  return { epoch, retired: retired.slice(-retiredMax), holes }
}

/** The identity in a stream's metadata; undefined for a log that is older than identities, and for a stream that is none of ours. */
export function identityIn(metadata: StreamConfig['metadata'] | undefined): LogIdentity | undefined {
  try {
    const { epoch, retired, holes } = JSON.parse(metadata?.[identityKey] ?? '') as Partial<LogIdentity>
    if (typeof epoch !== 'string') return undefined
    return { epoch, retired: Array.isArray(retired) ? retired : [], holes: Array.isArray(holes) ? holes : [] }
  } catch {
    return undefined
  }
}

/** The epoch of a log that is older than epochs: nodes that come to it together give it the same one. */
export function derivedEpoch({ config, created }: Pick<StreamInfo, 'config' | 'created'>): string {
  return createHash('sha256').update(`${config.name} ${created}`).digest('hex').slice(0, 32)
}

/** @throws TransientError */
export async function logState(nats: Nats, stream: string): Promise<LogState> {
  const info = await nats.jsm.streams.info(stream).catch((cause: unknown) => {
    throw new TransientError(`stream ${stream} does not answer`, { cause })
  })
  const { last_seq: last, messages } = info.state
  const identity = identityIn(info.config.metadata) ?? firstIdentity(derivedEpoch(info))
  return { identity, last, missing: Math.max(0, last - messages) }
}

/** @throws TransientError */
export async function writeIdentity(nats: Nats, stream: string, identity: LogIdentity): Promise<void> {
  try {
    const { config } = await nats.jsm.streams.info(stream)
    const metadata = { ...config.metadata, [identityKey]: identityText(identity) }
    await nats.jsm.streams.update(stream, { ...config, metadata })
  } catch (cause) {
    throw new TransientError(`cannot update stream ${stream}`, { cause })
  }
}

/** A digest that tells an event from another one of the same sequence. */
export function digestOf(subject: string, payload: Uint8Array): string {
  return createHash('sha256').update(`${subject}\0`).update(payload).digest('hex').slice(0, 32)
}

/** The digest of the event with this sequence, as the leader has it; undefined when it cannot be read. @throws TransientError */
export async function digestAt(nats: Nats, stream: string, sequence: number): Promise<string | undefined> {
  try {
    const message = await nats.jsm.streams.getMessage(stream, { seq: sequence })
    return message === null ? undefined : digestOf(message.subject, message.data)
  } catch (error) {
    // What is damaged is no message to the server.
    if (error instanceof JetStreamApiError && error.code === noMessageFound) return undefined
    throw new TransientError(`the leader of ${stream} does not answer`, { cause: error })
  }
}

/** How far a durable consumer has acknowledged all; 0 where there is none. @throws TransientError */
export async function consumerFloor(nats: Nats, stream: string, consumer: string): Promise<number> {
  try {
    return (await nats.jsm.consumers.info(stream, consumer)).ack_floor.stream_seq
  } catch (cause) {
    if (cause instanceof JetStreamApiError && cause.code === consumerNotFound) return 0
    throw new TransientError(`the consumer ${consumer} does not answer`, { cause })
  }
}
