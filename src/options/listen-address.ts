/** Addresses that daemons listen on: `tcp://ADDRESS:PORT` as dockerd's `--host` has them, and `ADDRESS:PORT`. */
import { isIP } from 'node:net';
import { addressAndPort } from '../model/addresses.js';

/** An address of this host, no name: a name's address may change while somebody listens on it. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** dockerd's port with TLS. */
const tlsPortDefault = 2376;

/** Reads `tcp://ADDRESS[:PORT]`; undefined for anything else. */
export function parseTcpHost(text: string): ListenAddress | undefined {
  const [, v6, host = v6 ?? '', port] =
    /^tcp:\/\/(?:\[([^\]]+)\]|([^:/[\]]+))(?::(\d+))?\/?$/.exec(text) ?? [];
  return checked(host, port === undefined ? tlsPortDefault : Number(port));
}

/** Reads `ADDRESS:PORT`, IPv6 in brackets; undefined for anything else. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const [, v6, host = v6 ?? '', port] = /^(?:\[([^\]]+)\]|([^:/[\]]+)):(\d+)$/.exec(text) ?? [];
  return checked(host, Number(port));
}

export const formatListenAddress = ({ host, port }: ListenAddress): string => addressAndPort(host, port);

const checked = (host: string, port: number): ListenAddress | undefined =>
  isIP(host) === 0 || !(port <= 65_535) ? undefined : { host, port };
