/** Where the API is served, from the environment of skepd: names as dockerd's flags have. A setting that cannot be kept is no start. */
import { isIP } from 'node:net';
import { OutsideError } from '../../model/errors.js';

export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface TcpListener {
  readonly host: string;
  readonly port: number;
}

export interface ListenSettings {
  readonly tcp: readonly TcpListener[];
  /** Present exactly where there are listeners. */
  readonly tls?: TlsFiles;
  /** Name or number of the socket's group; undefined: `docker`, where there is one. */
  readonly group?: string;
}

/** dockerd's port with TLS. */
const portDefault = 2376;

/** Throws an OutsideError, in a sentence for who set it, for what cannot be. */
export function readListenSettings(env: Readonly<Record<string, string | undefined>>): ListenSettings {
  const tcp = (env['SKEP_HOSTS'] ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
    .map(parseHost);
  const group = env['SKEP_GROUP'];
  const common = { tcp, ...(group !== undefined && { group }) };
  if (tcp.length === 0) return common;
  const file = (name: string): string => {
    const path = env[name] ?? '';
    if (path !== '') return path;
    return refuse(
      'SKEP_HOSTS has a TCP address, and nothing listens on TCP without TLS and certificates of clients: ' +
        `set SKEP_TLSCACERT, SKEP_TLSCERT and SKEP_TLSKEY to paths of PEM files (${name} is not set)`,
    );
  };
  return {
    ...common,
    tls: { ca: file('SKEP_TLSCACERT'), cert: file('SKEP_TLSCERT'), key: file('SKEP_TLSKEY') },
  };
}

function parseHost(word: string): TcpListener {
  const [, v6, host = v6 ?? '', port] =
    /^tcp:\/\/(?:\[([^\]]+)\]|([^:/[\]]+))(?::(\d+))?\/?$/.exec(word) ?? [];
  const number = port === undefined ? portDefault : Number(port);
  if (isIP(host) === 0 || number > 65_535)
    return refuse(
      `SKEP_HOSTS: ${JSON.stringify(word)} is none of tcp://ADDRESS:PORT; the unix socket is always there`,
    );
  return { host, port: number };
}

function refuse(message: string): never {
  throw new OutsideError(message, false);
}
