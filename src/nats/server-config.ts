import { join } from 'node:path'
import { type LeafNodes, leafLines } from './server-leaf.ts'

export interface ServerConfigOptions {
  readonly dataDir: string
  /** 0 = any free one. */
  readonly port: number
  readonly site: string
  /** Other sites; none by default. */
  readonly leaf?: LeafNodes | undefined
  readonly storeBytesMax: number
}

export const serverLogFile = (dataDir: string): string => join(dataDir, 'nats-server.log')

/**
 * The embedded server's configuration file: every line with its reason. The server's parser wants one setting a line:
 * `jetstream { a: 1, b: 2 }` on one line loses settings without a word.
 */
export function renderServerConfig(options: ServerConfigOptions): string {
  return [
    '# Configuration of the nats-server that Stowage runs. Written anew at every start: changes are lost.',
    '# To run a server of your own instead, set STOWAGE_NATS_URL.',
    setting('Only this machine may connect: whoever reaches this port may read and write everything.', [
      // The server's word for "any free port" is -1; 0 would be 4222.
      `listen: "127.0.0.1:${options.port === 0 ? -1 : options.port}"`,
    ]),
    setting('The name in logs and in `nats server` commands.', [`server_name: ${quote(`stowage-${options.site}`)}`]),
    setting('A block is up to 2 MiB, a batch of small ones more; above 8MB the server warns.', ['max_payload: 8MB']),
    setting('Replies waiting for one connection, at most; Stowage asks for less at a time.', ['max_pending: 64MB']),
    setting('What the server has to say. It starts a new file at 16 MiB and keeps two old ones.', [
      `log_file: ${quote(serverLogFile(options.dataDir))}`,
      'logfile_size_limit: 16777216',
      'logfile_max_num: 3',
    ]),
    setting('Here the server writes the port it listens on, which tells Stowage that it is up.', [
      `ports_file_dir: ${quote(options.dataDir)}`,
    ]),
    '# No monitoring port: everything needed is asked over the connection.',
    'jetstream {',
    setting('Blocks, names and events.', [`store_dir: ${quote(options.dataDir)}`], '  '),
    setting('An acknowledgement means on the disk, not in the cache of the system.', ['sync_interval: always'], '  '),
    setting(
      'The site is the domain: other sites reach this store as $JS.<site>.API.',
      [`domain: ${quote(options.site)}`],
      '  ',
    ),
    setting(
      'Stowage keeps no stream in memory; others on this server may, a little.',
      ['max_memory_store: 64MB'],
      '  ',
    ),
    setting(
      'STOWAGE_STORE_BYTES_MAX, else what is stored and most of what is free: the server says no before the disk does.',
      [`max_file_store: ${options.storeBytesMax}`],
      '  ',
    ),
    '}',
    ...leafLines(options.leaf, setting),
    '',
  ].join('\n')
}

function setting(reason: string, lines: readonly string[], indent = ''): string {
  return [`# ${reason}`, ...lines].map((text) => indent + text).join('\n')
}

/** A string of the server's configuration language takes JSON's escapes. */
const quote = (text: string): string => JSON.stringify(text)
