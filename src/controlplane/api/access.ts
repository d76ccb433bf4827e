/**
 * Who may ask for what over TCP. A client certificate names a role by its organizational unit; the table says which role each
 * request needs, and what is not in it needs the highest. The unix socket asks nobody: whoever may open it is root.
 *
 * A path is judged as the engine reads it, that is decoded. Whatever is written otherwise than clients write it (slashes in
 * escapes, dots as parts) fits no row. What gives away a secret, a token or the content of a container is no reading.
 */
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { SkepError } from '../../model/errors.js';

/** Each may do what those before it may. */
export const roles = ['read-only', 'operator', 'admin'] as const;
export type Role = (typeof roles)[number];

/** `{}` is one part of a path, `{...}` one or more: names of images have slashes. */
type Row = readonly [methods: string, path: string, least: Role];

/**
 * Admins alone have what is not here: the swarm's membership, its tokens and keys, nodes, backups, and all that rules the engine
 * and thereby the host: containers, images, builds, plugins, terminals and copies.
 */
export const accessTable: readonly Row[] = [
  ['GET HEAD', '/_ping', 'read-only'],
  ['GET', '/version', 'read-only'],
  ['GET', '/info', 'read-only'],
  ['GET', '/events', 'read-only'],
  ['GET', '/system/df', 'read-only'],

  ['GET', '/nodes', 'read-only'],
  ['GET', '/nodes/{}', 'read-only'],

  ['GET', '/services', 'read-only'],
  ['GET', '/services/{}', 'read-only'],
  ['GET', '/services/{}/logs', 'read-only'],
  ['POST', '/services/create', 'operator'],
  ['POST', '/services/{}/update', 'operator'],
  ['DELETE', '/services/{}', 'operator'],
  ['GET', '/tasks', 'read-only'],
  ['GET', '/tasks/{}', 'read-only'],
  ['GET', '/tasks/{}/logs', 'read-only'],

  // Their data is never given out.
  ['GET', '/secrets', 'read-only'],
  ['GET', '/secrets/{}', 'read-only'],
  ['POST', '/secrets/create', 'operator'],
  ['POST', '/secrets/{}/update', 'operator'],
  ['DELETE', '/secrets/{}', 'operator'],
  // Theirs is.
  ['GET', '/configs', 'operator'],
  ['GET', '/configs/{}', 'operator'],
  ['POST', '/configs/create', 'operator'],
  ['POST', '/configs/{}/update', 'operator'],
  ['DELETE', '/configs/{}', 'operator'],

  ['GET', '/networks', 'read-only'],
  ['GET', '/networks/{}', 'read-only'],
  ['POST', '/networks/create', 'operator'],
  ['POST', '/networks/prune', 'operator'],
  ['DELETE', '/networks/{}', 'operator'],

  // Services are created with credentials for registries, and with digests that the client looks up there.
  ['POST', '/auth', 'operator'],
  ['GET', '/distribution/{...}/json', 'operator'],

  ['GET', '/containers/json', 'read-only'],
  ['GET', '/containers/{}/json', 'read-only'],
  ['GET', '/containers/{}/logs', 'read-only'],
  ['GET', '/containers/{}/top', 'read-only'],
  ['GET', '/containers/{}/stats', 'read-only'],
  ['GET', '/containers/{}/changes', 'read-only'],
  ['POST', '/containers/{}/wait', 'read-only'],
  ['GET', '/images/json', 'read-only'],
  ['GET', '/images/{...}/json', 'read-only'],
  ['GET', '/images/{...}/history', 'read-only'],
  ['GET', '/volumes', 'read-only'],
  ['GET', '/volumes/{}', 'read-only'],
];

const escape = (part: string): string => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const part = '(?!\\.{1,2}(?:/|$))[^/]+';
const patternOf = (path: string): RegExp =>
  new RegExp(
    `^${path
      .split('/')
      .map((each) => (each === '{}' ? part : each === '{...}' ? `${part}(?:/${part})*` : escape(each)))
      .join('/')}$`,
    's',
  );
const rows = accessTable.map(([methods, path, least]) => ({
  methods: methods.split(' '),
  pattern: patternOf(path),
  least,
}));

/** The least role that may ask for it. `path` is without version and query. */
export function leastRole(method: string, path: string): Role {
  const read = decode(path);
  const fits = rows.filter(({ methods, pattern }) => methods.includes(method) && pattern.test(read));
  // Where two fit, the engine takes one of them: `/images/json` is no image.
  return fits.reduce<Role | undefined>((least, row) => higher(least, row.least), undefined) ?? 'admin';
}

const higher = (a: Role | undefined, b: Role): Role =>
  a !== undefined && roles.indexOf(a) > roles.indexOf(b) ? a : b;

function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return '';
  }
}

/** Whose certificate a connection over TCP showed. */
export interface Client {
  readonly name: string;
  /** Undefined: its certificate names none. */
  readonly role: Role | undefined;
  /** When the certificate ends to be good. */
  readonly validToMs: number;
}

const unitPrefix = 'skep-';

/** The highest role that the organizational units of a subject name. */
export function roleOf(units: string | readonly string[] | undefined): Role | undefined {
  const named = typeof units === 'string' ? [units] : (units ?? []);
  return roles.findLast((role) => named.includes(unitPrefix + role));
}

/** Who is at the other end; undefined on the unix socket. */
export function clientOf(socket: Duplex): Client | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  const { subject, valid_to } = socket.getPeerCertificate();
  // A listener lets nobody in without one; a connection that is gone has none any more.
  if (!socket.authorized || subject === undefined) return { name: '', role: undefined, validToMs: 0 };
  return {
    name: [subject.CN ?? ''].flat().join('+'),
    role: roleOf(subject.OU),
    validToMs: Date.parse(valid_to),
  };
}

/**
 * Throws `permissionDenied` for what the client may not have. Everything may be asked on the unix socket.
 * @param least what it needs, where that is not the table's: for a connection that is to change protocol
 */
export function authorizeRequest(
  client: Client | undefined,
  method: string,
  path: string,
  nowMs: number,
  least = leastRole(method, path),
): void {
  if (!client) return;
  const { name, role, validToMs } = client;
  const refuse = (reason: string): never => {
    throw new SkepError('permissionDenied', `access denied to ${JSON.stringify(name)}: ${reason}`);
  };
  if (role === undefined)
    return refuse(
      `its certificate names no role: one of the organizational units ${roles.map((each) => unitPrefix + each).join(', ')}`,
    );
  if (nowMs > validToMs) return refuse('its certificate has expired');
  if (roles.indexOf(role) < roles.indexOf(least))
    refuse(`${method} ${path} is for role ${least}, and its certificate has role ${role}`);
}
