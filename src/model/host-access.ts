/**
 * What of its node's host a service may be given beyond Swarm: devices, all privileges, a larger /dev/shm. A service asks by labels,
 * because Docker's API has no fields for it; a node allows by a setting of its own, which no manager can change (docs/adr/0033).
 */
import { isDeepStrictEqual } from 'node:util';
import type { Node } from './objects.js';
import type { Labels } from './service-spec.js';

export const devicesLabel = 'skep.devices';
export const privilegedLabel = 'skep.privileged';
export const shmSizeLabel = 'skep.shm-size';
/** On a node's engine, set by Skep itself where anything is allowed: what, as its administrator has said it. */
export const allowLabel = 'skep.allow';

/** A device, or a directory of /dev for all devices in it. */
export interface DeviceAccess {
  readonly pathOnHost: string;
  readonly pathInContainer: string;
  /** Some of `rwm`: read, write, make. */
  readonly permissions: string;
}

export interface HostAccess {
  readonly devices: readonly DeviceAccess[];
  readonly privileged: boolean;
  /** Absent: as the engine makes it. */
  readonly shmSizeBytes?: number;
}

export interface HostAllowance {
  /** Paths in which `*` stands for anything but a slash. */
  readonly devices: readonly string[];
  readonly privileged: boolean;
  readonly shmSize: boolean;
}

export const nothingAllowed: HostAllowance = { devices: [], privileged: false, shmSize: false };

/** Of a service, and of a node's setting. */
export const devicesMax = 64;

/** `pattern`: with stars. */
const devicePath = /^\/dev(?:\/[\w.+@=#~%-]+)+$/;
const patternPath = /^\/dev(?:\/[\w.+@=#~%*-]+)+$/;
const pathLengthMax = 255;

const isPath = (text: string, shape: RegExp): boolean =>
  text.length <= pathLengthMax &&
  shape.test(text) &&
  !text.split('/').some((part) => part === '.' || part === '..');

interface LabelLaw {
  /** Undefined: the text means nothing. */
  readonly parse: (text: string) => unknown;
  readonly expected: string;
}
const laws: Readonly<Record<string, LabelLaw>> = {
  [devicesLabel]: {
    parse: parseDevices,
    expected: `1 to ${devicesMax} devices with commas between, each /dev/NAME[:/dev/NAME-IN-CONTAINER][:rwm]`,
  },
  [privilegedLabel]: { parse: parseBoolean, expected: 'true or false' },
  [shmSizeLabel]: { parse: parseSize, expected: 'a number of bytes, such as 67108864, 64m or 1g' },
};

/** What is wrong with a service's labels of host access, in words for its user. */
export function faultOfHostAccessLabels(labels: Labels): string | undefined {
  for (const [name, law] of Object.entries(laws)) {
    const text = labels[name];
    if (text !== undefined && law.parse(text) === undefined)
      return `invalid label ${name}=${JSON.stringify(text)}: must be ${law.expected}`;
  }
  return undefined;
}

/** What a service's labels ask for; undefined: nothing. What they get wrong (the API refuses it) counts as not asked for. */
export function hostAccess(labels: Labels): HostAccess | undefined {
  const [devices, privileged, shmSize] = [
    labels[devicesLabel],
    labels[privilegedLabel],
    labels[shmSizeLabel],
  ];
  if (devices === undefined && privileged === undefined && shmSize === undefined) return undefined;
  const shmSizeBytes = shmSize === undefined ? undefined : parseSize(shmSize);
  const access: HostAccess = {
    devices: (devices === undefined ? undefined : parseDevices(devices)) ?? [],
    privileged: privileged === 'true',
    ...(shmSizeBytes === undefined ? {} : { shmSizeBytes }),
  };
  const asksNothing = access.devices.length === 0 && !access.privileged && shmSizeBytes === undefined;
  return asksNothing ? undefined : access;
}

/** Whether containers made for the one would do for the other. */
export const sameHostAccess = (a: Labels, b: Labels): boolean =>
  isDeepStrictEqual(hostAccess(a), hostAccess(b));

/**
 * What a node's administrator allows, from `devices=PATTERN`, `privileged` and `shm-size` with commas between; `devices=` as often as
 * there are patterns. Empty: nothing. Throws with the word that means nothing.
 */
export function parseAllowance(text: string): HostAllowance {
  const devices: string[] = [];
  const allowed = { privileged: false, shmSize: false };
  for (const word of text.split(',').map((part) => part.trim())) {
    const pattern = /^devices=(.*)$/.exec(word)?.[1];
    if (word === 'privileged') allowed.privileged = true;
    else if (word === 'shm-size') allowed.shmSize = true;
    else if (pattern !== undefined && isPath(pattern, patternPath) && devices.length < devicesMax)
      devices.push(pattern);
    else if (word !== '')
      throw new Error(
        `cannot allow ${JSON.stringify(word)}: expected devices=/dev/NAME (at most ${devicesMax}), privileged or shm-size`,
      );
  }
  return { devices, ...allowed };
}

/** As {@link parseAllowance} reads it; empty where nothing is allowed. */
export const formatAllowance = ({ devices, privileged, shmSize }: HostAllowance): string =>
  [
    ...devices.map((pattern) => `devices=${pattern}`),
    ...(privileged ? ['privileged'] : []),
    ...(shmSize ? ['shm-size'] : []),
  ].join();

/** What a node says that it allows. What cannot be read is nothing. */
export function allowanceOf({ description }: Node): HostAllowance {
  try {
    return parseAllowance(description?.engine.labels[allowLabel] ?? '');
  } catch {
    return nothingAllowed;
  }
}

/** Why a node that allows this gives no access like that, in words for the service's user; undefined: it does. */
export function faultOfAccess(access: HostAccess | undefined, allowed: HostAllowance): string | undefined {
  if (access === undefined) return undefined;
  if (access.privileged && !allowed.privileged) return `${privilegedLabel} is not allowed on this node`;
  if (access.shmSizeBytes !== undefined && !allowed.shmSize)
    return `${shmSizeLabel} is not allowed on this node`;
  const denied = access.devices.find(
    ({ pathOnHost }) => !allowed.devices.some((pattern) => matches(pattern, pathOnHost)),
  );
  return denied && `${devicesLabel}: ${denied.pathOnHost} is not allowed on this node`;
}

function matches(pattern: string, path: string): boolean {
  const [patterns, parts] = [pattern.split('/'), path.split('/')];
  return patterns.length === parts.length && patterns.every((each, at) => matchesPart(each, parts[at] ?? ''));
}

/** In time of the product of lengths, since managers do it with what nodes say. */
function matchesPart(pattern: string, part: string): boolean {
  let [at, inPart, star, resume] = [0, 0, -1, 0];
  while (inPart < part.length) {
    if (pattern[at] === '*') {
      star = at++;
      resume = inPart;
    } else if (pattern[at] === part[inPart]) {
      at += 1;
      inPart += 1;
    } else if (star >= 0) {
      at = star + 1;
      inPart = ++resume;
    } else return false;
  }
  return /^\**$/.test(pattern.slice(at));
}

function parseDevices(text: string): DeviceAccess[] | undefined {
  const devices: DeviceAccess[] = [];
  for (const part of text.split(',')) {
    const device = parseDevice(part.trim());
    if (device === undefined || devices.length === devicesMax) return undefined;
    devices.push(device);
  }
  return devices;
}

/** As the CLI reads `--device`. */
function parseDevice(text: string): DeviceAccess | undefined {
  const [pathOnHost = '', ...more] = text.split(':');
  const permissions = more.length > 0 && /^[rwm]{1,3}$/.test(more.at(-1) ?? '') ? more.pop() : 'rwm';
  const [pathInContainer = pathOnHost, ...rest] = more;
  if (rest.length > 0 || permissions === undefined || new Set(permissions).size < permissions.length)
    return undefined;
  return isPath(pathOnHost, devicePath) && isPath(pathInContainer, devicePath)
    ? { pathOnHost, pathInContainer, permissions }
    : undefined;
}

function parseBoolean(text: string): boolean | undefined {
  return text === 'true' ? true : text === 'false' ? false : undefined;
}

/** As the CLI reads `--shm-size`: powers of 1024. */
function parseSize(text: string): number | undefined {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?$/i.exec(text) ?? [];
  const bytes = Math.floor(Number(number) * 1024 ** ' kmgtp'.indexOf(unit.toLowerCase() || ' '));
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}
