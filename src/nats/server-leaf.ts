import type { LeafConfig } from '../config.ts'

/** The sites that an embedded server is joined with, and the Stowage domain that they share. */
export interface LeafNodes extends LeafConfig {
  readonly domain: string
}

/**
 * What must not cross from site to site. A publish is not bound to a JetStream domain: it is stored at every site that has a
 * stream for its subject, and a queued command would be carried out at each of them. The server keeps
 * `$KV.>` and the JetStream API of the own domain to itself (measured, 2.15.1), objects it does not.
 */
export function deniedOverLeaves(domain: string): string[] {
  return [`${domain}.queue.>`, `${domain}.dead.>`, `${domain}.moves.>`, `${domain}.reads.>`, '$O.>']
}

type Setting = (reason: string, lines: readonly string[], indent?: string) => string

/** The `leafnodes` block of the server's configuration; nothing where it is joined with nobody. */
export function leafLines(leaf: LeafNodes | undefined, setting: Setting): string[] {
  const { listen, remotes = [] } = leaf ?? {}
  if (leaf === undefined || (listen === undefined && remotes.length === 0)) return []
  return [
    'leafnodes {',
    ...(listen === undefined ? [] : listenLines(listen, setting)),
    ...(remotes.length === 0 ? [] : remoteLines(remotes, leaf.domain, setting)),
    '}',
  ]
}

function listenLines({ host, port, user, password }: NonNullable<LeafConfig['listen']>, setting: Setting): string[] {
  const address = host.includes(':') ? `[${host}]` : host
  const authorization = ['authorization {', `  user: ${quote(user)}`, `  password: ${quote(password)}`, '}']
  return [
    setting('STOWAGE_LEAF_LISTEN: where other sites join this one.', [`listen: ${quote(`${address}:${port}`)}`], '  '),
    setting(
      'They come back by the address that they were given, not by one that this server knows itself by.',
      ['no_advertise: true'],
      '  ',
    ),
    ...(password === ''
      ? []
      : [setting('Who joins may ask for everything here, as whoever reaches the port above.', authorization, '  ')]),
  ]
}

function remoteLines(remotes: readonly string[], domain: string, setting: Setting): string[] {
  const denied = `[${deniedOverLeaves(domain).map(quote).join(', ')}]`
  return [
    '  remotes: [',
    '    {',
    setting(
      'STOWAGE_LEAF_REMOTE: the hub that this site joins.',
      [`urls: [${remotes.map(quote).join(', ')}]`],
      '      ',
    ),
    setting(
      'A publish is stored wherever a stream has its subject: commands, dead letters and blocks stay at the site they were made for.',
      [`deny_imports: ${denied}`, `deny_exports: ${denied}`],
      '      ',
    ),
    '    }',
    '  ]',
  ]
}

const quote = (text: string): string => JSON.stringify(text)
