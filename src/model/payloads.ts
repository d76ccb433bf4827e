/**
 * Secrets and configs, as far as they are alike: content under a name, which tasks are given as files. What may be one, and where
 * it is in a container, in the words and with the limits of Swarm's control API. Pure.
 */
import type { Labels, LogDriver, PayloadReference } from './service-spec.js';

export type PayloadKind = 'secret' | 'config';
export const payloadKinds: readonly PayloadKind[] = ['secret', 'config'];

/** Both are immutable but for their labels. */
export interface PayloadSpec {
  readonly name: string;
  readonly labels: Labels;
  /** Base64. */
  readonly data: string;
  /** What expands it for each task; absent: it is given as it is. */
  readonly templating?: LogDriver;
}

/** The first size in bytes that is too large: 500 and 1000 KiB. */
const sizeBytesEnd: Readonly<Record<PayloadKind, number>> = { secret: 512_000, config: 1_024_000 };

const namePattern = /^[a-zA-Z0-9]+(?:[a-zA-Z0-9\-_.]*[a-zA-Z0-9])?$/;
export const nameLengthMax = 64;

/** What is wrong with the name and content of a new secret or config; undefined: nothing. */
export function faultOfPayload(kind: PayloadKind, { name, data }: PayloadSpec): string | undefined {
  return faultOfName(name) ?? faultOfSize(kind, Buffer.byteLength(data, 'base64'));
}

export function faultOfName(name: string): string | undefined {
  if (name === '') return 'name must be provided';
  if (name.length > nameLengthMax || !namePattern.test(name))
    return (
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be ' +
      '[a-zA-Z0-9]'
    );
  return undefined;
}

export function faultOfSize(kind: PayloadKind, bytes: number): string | undefined {
  const end = sizeBytesEnd[kind];
  return bytes >= 1 && bytes < end
    ? undefined
    : `${kind} data must be larger than 0 and less than ${end} bytes`;
}

/** What is wrong with a container's references to secrets, or to configs, by themselves. */
export function faultOfReferences(
  kind: PayloadKind,
  references: readonly PayloadReference[],
): string | undefined {
  const targets = new Map<string, string>();
  for (const { id, name, file } of references) {
    if (id === '' || name === '') return `malformed ${kind} reference`;
    if (file.name === '' || targetPath(kind, file.name) === '/')
      return `malformed file ${kind} reference, invalid target file name provided`;
    const holder = targets.get(file.name);
    if (holder !== undefined)
      return `${kind} references '${holder}' and '${name}' have a conflicting target: '${file.name}'`;
    targets.set(file.name, name);
    // Swarm finds out on the node, where it fails each of the tasks.
    for (const [what, number] of Object.entries({ uid: file.uid, gid: file.gid }))
      if (number !== '' && !isUserNumber(number))
        return `malformed file ${kind} reference, invalid ${what} '${number}'`;
  }
  return undefined;
}

/** 2^32-1 means "leave it" to the kernel. */
const isUserNumber = (text: string): boolean => /^\d{1,10}$/.test(text) && Number(text) < 0xffff_ffff;

/** Where a relative name of a file is in the container. */
const directoryOf: Readonly<Record<PayloadKind, string>> = { secret: '/run/secrets', config: '/' };

/** The file's place in the container: absolute, and without `.` and `..`. */
export function targetPath(kind: PayloadKind, name: string): string {
  const path = name.startsWith('/') ? name : `${directoryOf[kind]}/${name}`;
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}
