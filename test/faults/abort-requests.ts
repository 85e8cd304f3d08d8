import { uploads } from './abort-content.ts'

/** A request of one kind, as it goes over the wire. */
export interface RequestKind {
  readonly name: string
  readonly listener: 'gateway' | 'api'
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  /** It does not end by itself. */
  readonly endless?: boolean
}

/** What the requests are about; it was put before them. */
export interface Content {
  /** A folder with `big` (some MiB), `index.html` and `many/` (hundreds of entries). */
  readonly folder: string
  readonly file: string
  /** An IPNS key of the node that follows `abort/site`. */
  readonly key: string
  readonly token: string
}

const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))

/** Every format, place and answer of the gateway. */
export function gatewayKinds({ folder, file, key }: Content): RequestKind[] {
  const get = (name: string, path: string, headers: Readonly<Record<string, string>> = {}, method = 'GET') =>
    ({ name, listener: 'gateway', method, path, headers: { Host: '127.0.0.1', ...headers } }) as const
  return [
    get('file', `/ipfs/${folder}/big`),
    get('range', `/ipfs/${folder}/big`, { Range: 'bytes=1000000-2500000' }),
    get('head', `/ipfs/${folder}/big`, {}, 'HEAD'),
    get('car', `/ipfs/${folder}?format=car`),
    get('car of a range', `/ipfs/${folder}/big?format=car&dag-scope=entity&entity-bytes=1000000:2000000`),
    get('car with repeats', `/ipfs/${folder}?format=car&dups=y`),
    get('tar', `/ipfs/${folder}?format=tar`),
    get('raw', `/ipfs/${file}?format=raw`),
    get('dag-json', `/ipfs/${folder}?format=dag-json`, { Accept: 'application/vnd.ipld.dag-json' }),
    get('listing', `/ipfs/${folder}/many/`, { Accept: 'text/html' }),
    get('index.html', `/ipfs/${folder}/`, { Accept: 'text/html' }),
    get('preview', `/ipfs/${file}`, { Accept: 'text/html' }),
    get('name', '/names/abort/site/big'),
    get('ipns', `/ipns/${key}/index.html`),
    get('ipns record', `/ipns/${key}?format=ipns-record`),
    get('subdomain', '/index.html', { Host: `${folder}.ipfs.localhost` }),
    get('missing block', '/ipfs/bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4'),
    get('missing path', `/ipfs/${folder}/absent`),
    get('options', `/ipfs/${folder}`, {}, 'OPTIONS'),
    get('refused method', `/ipfs/${folder}`, { 'Content-Length': '0' }, 'POST'),
    get('tunnel', 'ipfs.example:80', {}, 'CONNECT'),
  ]
}

/** Uploads of every kind, and every route with its methods. */
export function apiKinds(content: Content): RequestKind[] {
  const { folder, file, key, token } = content
  const auth = { Host: '127.0.0.1', Authorization: `Bearer ${token}` }
  const call = (
    name: string,
    method: string,
    path: string,
    body?: Uint8Array,
    headers: Readonly<Record<string, string>> = {},
  ): RequestKind => ({
    name,
    listener: 'api',
    method,
    path: `/api/v1/${path}`,
    headers: { ...auth, ...headers },
    ...(body === undefined ? {} : { body }),
  })
  const upload = (name: string, method: string, path: string) =>
    uploads.map(({ kind, body, type }) => call(`${name} ${kind}`, method, path, body, { 'Content-Type': type }))
  return [
    ...upload('put', 'POST', 'objects'),
    ...upload('put under a name', 'PUT', 'names/abort/put'),
    call('put of a partial car', 'POST', 'objects?partial=true', uploads.at(-1)?.body, {
      'Content-Type': 'application/vnd.ipld.car',
    }),
    call('put and wait', 'POST', 'objects', Buffer.from('wait'), { Prefer: 'copies=1, timeout=1' }),
    call('stat', 'GET', `objects/${folder}/big`),
    call('entries', 'GET', `objects/${folder}/many?entries=true&detail=true`),
    call('delete', 'DELETE', `objects/${file}?force=true`),
    call('name', 'GET', 'names/abort/site'),
    call('name history', 'GET', 'names/abort/site?history=true'),
    call('names', 'GET', 'names?limit=1000'),
    call('name of a cid', 'PUT', `names/abort/set?cid=${folder}`),
    call('remove a name', 'DELETE', 'names/abort/set'),
    call('change names', 'POST', 'names', json({ changes: [{ kind: 'set', name: 'abort/many', cid: folder }] })),
    { ...call('follow events', 'GET', 'events'), endless: true },
    call('events', 'GET', 'events?follow=false', undefined, { Accept: 'application/x-ndjson' }),
    call('ipns list', 'GET', 'ipns'),
    call('ipns entry', 'GET', `ipns/${key}`),
    call('ipns link', 'PUT', 'ipns/abort.example.org', Buffer.from(`/ipfs/${folder}`), {
      'Content-Type': 'text/plain',
    }),
    call('ipns unlink', 'DELETE', 'ipns/abort.example.org'),
    call('publish', 'POST', 'ipns', json({ publish: { name: 'abort/site', key: 'abort' } })),
    call('keys', 'GET', 'keys'),
    call('make a key', 'POST', 'keys', json({ label: 'abort2' })),
    call('export a key', 'POST', 'keys/abort/export', json({})),
    call('remove a key', 'DELETE', 'keys/abort2'),
    call('verify the index', 'POST', 'index/verify'),
    call('scrub', 'GET', 'scrub'),
    call('missing', 'GET', 'missing'),
    call('fetch missing', 'POST', 'missing'),
    call('policy', 'GET', 'policies/main'),
    call('policies', 'GET', 'policies/main/history'),
    call('check a policy', 'POST', 'policies/main/check', json({ rules: [] })),
    call('plan a policy', 'POST', 'policies/main/plan', json({ rules: [] })),
    call('backtest a policy', 'POST', 'policies/main/backtest', json({ rules: [] })),
    call('set a policy', 'PUT', 'policies/main', json({ rules: 'none' })),
    call('undo a policy', 'POST', 'policies/main/undo'),
    call('why', 'GET', `why/${folder}`),
    call('sites', 'GET', 'sites'),
    call('stores', 'GET', 'stores'),
    call('projections', 'GET', 'projections'),
    call('project', 'PUT', 'projections/abort', json({ site: 'local', name: 'abort/site' })),
    call('projection', 'GET', 'projections/abort'),
    call('unproject', 'DELETE', 'projections/abort'),
    call('placement', 'GET', 'placement'),
    call('placement picture', 'GET', 'placement.svg'),
    call('object status', 'GET', `status/${folder}`),
    call('status', 'GET', 'status'),
    { ...call('ready', 'GET', ''), path: '/readyz' },
    { ...call('metrics', 'GET', ''), path: '/metrics' },
    call('nothing there', 'GET', 'nowhere'),
  ]
}
