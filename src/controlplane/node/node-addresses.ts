/**
 * Which addresses a node listens on and tells the others, from what the user wrote and what the host has. Pure; the
 * texts are the daemon's (moby daemon/cluster/listen_addr.go as seen by users), to which the CLI adds its own hint.
 */
import { SkepError } from '../../model/errors.js';
import type { Ip } from '../../model/addresses.js';
import { familyOf, isIp, parseIp } from '../../model/addresses.js';

/** The manager port of Swarm, used wherever an address names none. */
export const defaultManagerPort = 2377;

export interface InterfaceAddress {
  readonly name: string;
  readonly address: string;
  readonly internal: boolean;
}

export interface AddressRequest {
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
}

export interface NodeAddresses {
  readonly listenHost: string;
  readonly listenPort: number;
  readonly advertiseHost: Ip;
  readonly advertisePort: number;
  readonly dataPathHost: Ip;
}

const refuse = (message: string): never => {
  throw new SkepError('invalidArgument', message);
};

/** What Swarm says before the reason why a manager cannot listen. */
export const listenFailure = 'manager stopped: failed to listen on remote API address';

/** The first that is looked at of a request, and no more than that something is there. */
export function requireListenAddress(listenAddr: string): void {
  if (listenAddr === '') refuse('invalid ListenAddr "": invalid empty address');
}

/**
 * Splits `host[:port]`; IPv6 hosts with a port stand in brackets. Throws `invalidArgument` with Go's words for a port that is none.
 * @param use what they stand behind
 */
export function splitHostPort(
  text: string,
  portDefault: number,
  use = 'dial tcp',
): { host: string; port: number } {
  if (isIp(text)) return { host: text, port: portDefault };
  const [, host = text, written = ''] =
    /^\[(.*)\](?::(.*))?$/.exec(text) ?? /^(.*):([^:]*)$/.exec(text) ?? [];
  if (written === '') return { host, port: portDefault };
  const port = Number(written);
  if (!/^\d+$/.test(written)) refuse(`${use}: address tcp/${written}: unknown port`);
  if (port < 1 || port > 65535) refuse(`${use}: address ${written}: invalid port`);
  return { host, port };
}

/**
 * Resolves what the user asked for; throws `invalidArgument` with the daemon's text.
 * @param towardsManagers the address that this host uses towards those it joins: it is the one to advertise where the user names
 *   none, however many there are
 */
export function resolveAddresses(
  request: AddressRequest,
  interfaces: readonly InterfaceAddress[],
  towardsManagers?: Ip,
): NodeAddresses {
  const listen = listenAddress(request.listenAddr, interfaces);
  const advertise = advertiseAddress(request.advertiseAddr, listen, interfaces, towardsManagers);
  return {
    listenHost: listen.host,
    listenPort: listen.port,
    advertiseHost: advertise.host,
    advertisePort: advertise.port,
    dataPathHost:
      request.dataPathAddr === '' ? advertise.host : dataPathAddress(request.dataPathAddr, interfaces),
  };
}

function listenAddress(
  text: string,
  interfaces: readonly InterfaceAddress[],
): { host: string; port: number } {
  const { host, port } = splitHostPort(text, defaultManagerPort, `${listenFailure}: listen tcp`);
  if (isIp(host)) return { host: parseIp(host), port };
  const resolved = interfaceAddress(host, interfaces);
  if (resolved === undefined)
    return refuse('listen address must be an IP address or network interface (with optional port number)');
  return { host: resolved, port };
}

function advertiseAddress(
  text: string,
  listen: { host: string; port: number },
  interfaces: readonly InterfaceAddress[],
  towardsManagers: Ip | undefined,
): { host: Ip; port: number } {
  const malformed =
    'advertise address must be a non-zero IP address or network interface (with optional port number)';
  if (text !== '') {
    const { host, port } = splitHostPort(text, defaultManagerPort);
    if (isIp(host)) return isUnspecified(host) ? refuse(malformed) : { host: parseIp(host), port };
    return { host: interfaceAddress(host, interfaces) ?? refuse(malformed), port };
  }
  if (!isUnspecified(listen.host)) return { host: parseIp(listen.host), port: listen.port };
  return { host: towardsManagers ?? systemAddress(interfaces), port: listen.port };
}

function dataPathAddress(text: string, interfaces: readonly InterfaceAddress[]): Ip {
  const malformed =
    'data path address must be a non-zero IP address or network interface (without a port number)';
  if (isIp(text)) return isUnspecified(text) ? refuse(malformed) : parseIp(text);
  return interfaceAddress(text, interfaces) ?? refuse(malformed);
}

const isUnspecified = (host: string): boolean => host === '0.0.0.0' || host === '::';
const isLinkLocal = (address: string): boolean =>
  address.startsWith('169.254.') || /^fe[89ab]/i.test(address);

/** The single address of an interface; undefined when there is no such interface. */
function interfaceAddress(name: string, interfaces: readonly InterfaceAddress[]): Ip | undefined {
  const own = interfaces.filter((entry) => entry.name === name && !isLinkLocal(entry.address));
  if (own.length === 0) return undefined;
  const v4 = own.filter(({ address }) => familyOf(address) === 4);
  const usable = v4.length > 0 ? v4 : own;
  const [first, second] = usable;
  if (first && second)
    refuse(
      `interface ${name} has more than one IPv${familyOf(first.address)} address (${first.address} and ${second.address})`,
    );
  return first && parseIp(first.address);
}

/** Bridges and links that Docker and Skep make are no address of the host. */
const ownLink = /^(docker|br-|veth|sk|lo$)/;

function systemAddress(interfaces: readonly InterfaceAddress[]): Ip {
  const candidates = interfaces.filter(
    ({ name, address, internal }) =>
      !internal && !ownLink.test(name) && !isLinkLocal(address) && familyOf(address) === 4,
  );
  const [first, second] = candidates;
  if (!first) return refuse("could not find the system's IP address");
  if (second)
    return refuse(
      first.name === second.name
        ? `could not choose an IP address to advertise since this system has multiple addresses on interface ${first.name} (${first.address} and ${second.address})`
        : `could not choose an IP address to advertise since this system has multiple addresses on different interfaces (${first.address} on ${first.name} and ${second.address} on ${second.name})`,
    );
  return parseIp(first.address);
}
