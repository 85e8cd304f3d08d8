import type { LayoutConfig } from '../config.ts'
import { deadSubjects, eventStream, liveSubjects } from './layout.ts'

/** Subjects that a user of nats-server may publish to and subscribe to; what is not allowed is denied, `deny` in any case. */
export interface NatsPermissions {
  readonly publish: { readonly allow: readonly string[]; readonly deny: readonly string[] }
  readonly subscribe: { readonly allow: readonly string[] }
}

export interface NatsUser {
  readonly name: string
  /** Who it is for. */
  readonly about: string
  readonly permissions: NatsPermissions
}

/** An account has subjects of its own; what crosses from one to another is listed. */
export interface NatsAccounts {
  /** The streams, the nodes, and whom the log is trusted to. */
  readonly stowage: readonly NatsUser[]
  readonly clients: readonly NatsUser[]
  /** What clients may ask of the other account, and whether one request has many answers. */
  readonly services: readonly { readonly subject: string; readonly streamed: boolean }[]
  /** What they hear from it. */
  readonly streams: readonly string[]
}

type Place = Pick<LayoutConfig, 'domain' | 'space'>

/** What changes streams, or writes past the log: for no client, whatever else it is given later. */
const forNoClient = ({ domain }: Place): string[] => [
  ...['CREATE', 'UPDATE', 'DELETE', 'PURGE', 'RESTORE', 'SNAPSHOT', 'MSG.DELETE', 'PEER.REMOVE'].map(
    (verb) => `$JS.API.STREAM.${verb}.>`,
  ),
  '$JS.API.META.>',
  '$SYS.>',
  '$KV.>',
  '$O.>',
  `${domain}.evt.>`,
  `${domain}.reads.>`,
  liveSubjects(domain),
  deadSubjects(domain),
  // What sites ask each other: the answers list what is stored, also what nobody has named.
  `${domain}.qry.*.missing`,
  `${domain}.qry.*.missing.>`,
]

/** Each has inboxes of its own, so that nobody reads the answers that others get. */
const inboxOf = (user: string): string => `_INBOX.${user}.>`

/**
 * Users of a nats-server whom nothing is given that they do not need.
 *
 * Nobody but nodes writes to the streams, buckets and events, so that what is in the log went through a node. Permissions alone
 * do not bring that about: JetStream answers to any reply subject that a request names, also where its sender may not publish,
 * and a stream keeps the answer (measured, 2.15.1). So clients are in an account of their own, and answers to them stay there.
 * For the same reason a follower of the log, which needs JetStream's API, is as trusted as a node.
 */
export function natsAccounts(place: Place): NatsAccounts {
  const { domain, space } = place
  const discovery = ['PING', 'INFO', 'STATS'].flatMap((verb) => [`$SRV.${verb}`, `$SRV.${verb}.>`])
  const queries = `${domain}.qry.${space}.>`
  const commands = `${domain}.cmd.${space}.>`
  const queue = `${domain}.queue.${space}.>`
  const transfers = `${domain}.xfer.>`
  const live = liveSubjects(domain)
  const client = (name: string, about: string, publish: readonly string[], subscribe: readonly string[]): NatsUser => {
    const deny = forNoClient(place)
    return { name, about, permissions: { publish: { allow: publish, deny }, subscribe: { allow: subscribe } } }
  }
  // `_R_`: where an answer names a subject for more (the credit of a download), the server gives it such a name on the way.
  const reading = [queries, transfers, '_R_.>', ...discovery]
  return {
    stowage: [
      nodeUser(place),
      client(
        'follower',
        'reads the log from any point with consumers of its own: for whom you trust',
        following(domain),
        [inboxOf('follower'), live],
      ),
    ],
    clients: [
      client('reader', 'queries: get, list, resolve …', reading, [inboxOf('reader')]),
      client(
        'writer',
        'the same, commands, the queue of commands, and events as they happen',
        [...reading, commands, queue],
        [inboxOf('writer'), live],
      ),
    ],
    services: [
      ...[queries, commands, transfers, ...discovery].map((subject) => ({ subject, streamed: true })),
      { subject: queue, streamed: false },
    ],
    streams: [live],
  }
}

function following(domain: string): string[] {
  const log = eventStream(domain)
  return [
    '$JS.API.INFO',
    `$JS.API.STREAM.INFO.${log}`,
    `$JS.API.CONSUMER.*.${log}`,
    `$JS.API.CONSUMER.*.${log}.>`,
    `$JS.API.CONSUMER.DURABLE.CREATE.${log}.*`,
    `$JS.API.CONSUMER.MSG.NEXT.${log}.*`,
    `$JS.ACK.${log}.>`,
    // With a domain and the account's hash before the stream, as newer servers write it.
    `$JS.ACK.*.*.${log}.>`,
    '$JS.FC.>',
  ]
}

function nodeUser({ domain }: Place): NatsUser {
  const log = eventStream(domain)
  return {
    name: 'stowage',
    about: 'the nodes (STOWAGE_NATS_USER, STOWAGE_NATS_PASSWORD)',
    permissions: {
      publish: {
        // `$JS.<site>.API`: the JetStream of other sites, which blocks are read of.
        allow: [
          `${domain}.>`,
          '$O.>',
          '$KV.>',
          '$JS.API.>',
          '$JS.*.API.>',
          '$JS.ACK.>',
          '$JS.FC.>',
          '_INBOX.>',
          '_R_.>',
        ],
        // The server refuses a purge of the log too; to delete the stream would be another way.
        deny: [`$JS.API.STREAM.DELETE.${log}`, `$JS.API.STREAM.PURGE.${log}`, '$JS.API.STREAM.RESTORE.>'],
      },
      subscribe: { allow: ['_INBOX.>', `${domain}.>`, '$SRV.>'] },
    },
  }
}

/** For the configuration file of nats-server. Passwords come out of its environment: it does not start without them. */
export function accountsBlock({ stowage, clients, services, streams }: NatsAccounts): string {
  const exports = [
    ...services.map(({ subject, streamed }) =>
      streamed ? `{ service: ${quoted(subject)}, response_type: stream }` : `{ service: ${quoted(subject)} }`,
    ),
    ...streams.map((subject) => `{ stream: ${quoted(subject)} }`),
  ]
  const imports = [
    ...services.map(({ subject }) => `{ service: { account: STOWAGE, subject: ${quoted(subject)} } }`),
    ...streams.map((subject) => `{ stream: { account: STOWAGE, subject: ${quoted(subject)} } }`),
  ]
  return [
    '# Accounts and users for nats-server, made by `stowage nats-permissions`. It takes the passwords from its environment.',
    '# Clients set their inbox prefix to _INBOX.<user>. Streams that lie in another account do not move here by themselves.',
    'accounts {',
    '  STOWAGE {',
    '    jetstream: enabled',
    '    users: [',
    ...stowage.flatMap(userLines),
    '    ]',
    '    exports: [',
    ...exports.map((line) => `      ${line}`),
    '    ]',
    '  }',
    '  CLIENTS {',
    '    users: [',
    ...clients.flatMap(userLines),
    '    ]',
    '    imports: [',
    ...imports.map((line) => `      ${line}`),
    '    ]',
    '  }',
    '}',
    '',
  ].join('\n')
}

function userLines({ name, about, permissions: { publish, subscribe } }: NatsUser): string[] {
  return [
    `      # ${about}`,
    '      {',
    `        user: ${name}, password: $NATS_${name.toUpperCase()}_PASSWORD`,
    '        permissions: {',
    `          publish: { allow: ${list(publish.allow)}, deny: ${list(publish.deny)} }`,
    `          subscribe: { allow: ${list(subscribe.allow)} }`,
    '        }',
    '      }',
  ]
}

/** A bare `$KV` would be a variable. */
const quoted = (subject: string): string => JSON.stringify(subject)
const list = (subjects: readonly string[]): string => `[${subjects.map(quoted).join(', ')}]`
