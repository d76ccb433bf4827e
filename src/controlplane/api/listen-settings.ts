/** Where the API is served, from the options of skepd. A setting that cannot be kept is no start. */
import { OutsideError } from '../../model/errors.js';
import type { ListenAddress } from '../../options/listen-address.js';
import type { ReadOptions } from '../../options/read.js';

export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface ListenSettings {
  readonly tcp: readonly ListenAddress[];
  /** Present exactly where there are listeners. */
  readonly tls?: TlsFiles;
  /** Name or number of the socket's group; undefined: `docker`, where there is one. */
  readonly group?: string;
}

/** Throws an OutsideError, in a sentence for who set it, for what cannot be. */
export function readListenSettings({ values, origins }: Omit<ReadOptions, 'findings'>): ListenSettings {
  const tcp = values['api.hosts'];
  const common = { tcp, ...(origins['api.group'] !== 'default' && { group: values['api.group'] }) };
  if (tcp.length === 0) return common;
  const file = (name: 'tls-ca' | 'tls-cert' | 'tls-key', variable: string): string => {
    const path = values[`api.${name}`];
    if (path !== '') return path;
    throw new OutsideError(
      'SKEP_HOSTS or [api] hosts has a TCP address, and nothing listens on TCP without TLS and certificates of clients: set ' +
        `SKEP_TLSCACERT, SKEP_TLSCERT and SKEP_TLSKEY, or [api] tls-ca, tls-cert and tls-key, to paths of PEM files (${variable} is not set)`,
      false,
    );
  };
  return {
    ...common,
    tls: {
      ca: file('tls-ca', 'SKEP_TLSCACERT'),
      cert: file('tls-cert', 'SKEP_TLSCERT'),
      key: file('tls-key', 'SKEP_TLSKEY'),
    },
  };
}
