import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import type { Nats } from './connection.ts'
import type { Requests } from './requests.ts'

const local = '$JS.API.'

/**
 * The same connections, asking the JetStream of another site, over the leaf links between: whatever goes to `$JS.API.…`
 * goes to `$JS.<domain>.API.…`. For reading: a publish is not bound to a domain.
 */
export async function inDomain(nats: Nats, domain: string): Promise<Nats> {
  const { control, data, log } = nats
  return {
    control,
    data,
    js: jetstream(control, { domain }),
    jsm: await jetstreamManager(control, { domain, checkAPI: false }),
    requests: redirected(nats.requests, domain),
    log: { channel: log.channel, requests: redirected(log.requests, domain) },
    serverVersion: nats.serverVersion,
    sizes: nats.sizes,
    payloadBytesMax: nats.payloadBytesMax,
    get connected() {
      return nats.connected
    },
    get isClosed() {
      return nats.isClosed
    },
    // They are the node's own.
    close: async () => undefined,
    closeIfAway: async () => undefined,
  }
}

function redirected(requests: Requests, domain: string): Requests {
  const of = (subject: string) =>
    subject.startsWith(local) ? `$JS.${domain}.API.${subject.slice(local.length)}` : subject
  return {
    one: (subject, ...rest) => requests.one(of(subject), ...rest),
    many: (subject, ...rest) => requests.many(of(subject), ...rest),
  }
}
