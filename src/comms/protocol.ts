/**
 * The NATS surface: subjects, headers and message shapes. docs/nats.md tells it with the `nats` CLI.
 *
 *   <d>.qry.<space>.<query>[.<cid>]    request and reply, answered by any node (queue group `q`)
 *   <d>.qry.<space>.missing[.<site>]   what another site asks: each site answers, once
 *   <d>.cmd.<space>.<command>          the same, and an event for what it did
 *   <d>.queue.<space>.<command>        the same command, stored first, carried out at least once (stream `<d>_queue`)
 *   <d>.dead.<space>.<command>         what the queue gave up on (stream `<d>_dead`)
 *   <d>.xfer.<node>.<token>            credit for a download, parts of an upload: subjects that replies name
 */
export const queries = ['get', 'stat', 'list', 'resolve', 'names', 'links', 'status', 'has', 'why'] as const
export type Query = (typeof queries)[number]

/** What sites ask each other. */
export type PeerQuery = 'missing'

export const commands = ['put', 'name', 'unname', 'rename', 'undo', 'delete', 'import', 'project', 'unproject'] as const
export type Command = (typeof commands)[number]

/** Queries that take their subject as the last token, so that permissions can go by it. */
export const byToken: readonly Query[] = ['get', 'stat', 'list', 'names', 'links', 'status', 'has', 'why']

export interface Subjects {
  readonly domain: string
  readonly space: string
}

export const querySubject = ({ domain, space }: Subjects, query: Query) => `${domain}.qry.${space}.${query}`
export const commandSubject = ({ domain, space }: Subjects, command: Command) => `${domain}.cmd.${space}.${command}`
export const queueSubject = ({ domain, space }: Subjects, command: Command) => `${domain}.queue.${space}.${command}`
export const deadSubject = ({ domain, space }: Subjects, command: string) => `${domain}.dead.${space}.${command}`
export const transferSubject = ({ domain }: Subjects, node: string) => `${domain}.xfer.${node}`

/** Header names as they are written; they are read in any case. Those that HTTP has too mean the same there. */
export const header = {
  /** Of the message: the idempotency key of a command. `ce-id` and `Nats-Msg-Id` are read too, in this order. */
  id: 'Stowage-Command-Id',
  correlation: 'Stowage-Correlation-Id',
  causation: 'Stowage-Causation-Id',
  owner: 'Stowage-Owner',
  traceparent: 'traceparent',
  /** Needed by commands where STOWAGE_NATS_COMMANDS=token. */
  token: 'Stowage-Token',
  /** `command` or `query`: a message that says what it is, is refused on a subject of the other kind. */
  kind: 'Stowage-Kind',
  /** What the body is: `content`, `text`, `json` or `cloudevents`; told by Content-Type and the verb where absent. */
  body: 'Stowage-Body',

  cid: 'Stowage-Cid',
  /** Content in bytes. */
  size: 'Stowage-Size',
  name: 'Stowage-Name',
  revision: 'Stowage-Revision',
  /** On a name that stands for several things: how many. */
  heads: 'Stowage-Name-Heads',
  contentType: 'Content-Type',
  contentRange: 'Content-Range',
  eventId: 'Stowage-Event-Id',
  sequence: 'Stowage-Sequence',
  repeated: 'Stowage-Repeated',

  /** Bytes that the sender of this header is ready to take. On a get: stream what is larger than one reply. */
  credit: 'Stowage-Credit',
  /** Most credit that is honoured at a time, in bytes. */
  creditMax: 'Stowage-Credit-Max',
  /** `1` on the reply that begins a stream. */
  stream: 'Stowage-Stream',
  parts: 'Stowage-Parts',
  /** 1, 2, 3 …; both ways. */
  part: 'Stowage-Part',
  partBytesMax: 'Stowage-Part-Bytes-Max',
  /** `1` on the last message of a transfer, which carries size and digest of all of it. */
  final: 'Stowage-Final',
  /** SHA-256 of what was transferred, in hex. */
  sha256: 'Stowage-Sha256',
  /** On a put or import: `begin`; to the subject that the reply names: `abort`. In replies: that subject. */
  upload: 'Stowage-Upload',

  /** ADR-32. */
  error: 'Nats-Service-Error',
  errorCode: 'Nats-Service-Error-Code',
} as const

/** On a dead letter, beside the headers that the message came with. */
export const deadHeader = {
  reason: 'Stowage-Dead-Reason',
  code: 'Stowage-Dead-Code',
  subject: 'Stowage-Dead-Subject',
  sequence: 'Stowage-Dead-Sequence',
  deliveries: 'Stowage-Dead-Deliveries',
  /** Bytes of the payload, where it did not fit beside the reason and was cut. */
  cut: 'Stowage-Dead-Cut-From',
  time: 'Stowage-Dead-Time',
  /** Before the names of `Nats-…` headers, which would mean something to the server. */
  prefix: 'Stowage-Dead-Header-',
} as const

export const envelopeType = 'application/cloudevents+json'
