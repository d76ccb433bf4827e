/** Labels of host access and what nodes allow: what they mean, what is refused and in which words. */
import { expect, test } from 'vitest';
import {
  allowanceOf,
  faultOfAccess,
  faultOfHostAccessLabels,
  formatAllowance,
  hostAccess,
  nothingAllowed,
  parseAllowance,
} from '../../../src/model/host-access.js';
import type { DeviceAccess, HostAccess } from '../../../src/model/host-access.js';
import type { Node } from '../../../src/model/objects.js';
import { node } from '../../support/cluster-objects.js';

const none: HostAccess = { devices: [], privileged: false };
const device = (pathOnHost: string, pathInContainer = pathOnHost, permissions = 'rwm'): DeviceAccess => ({
  pathOnHost,
  pathInContainer,
  permissions,
});
const devices = (...of: DeviceAccess[]): HostAccess => ({ ...none, devices: of });
const many = Array.from({ length: 65 }, (_, i) => `/dev/n${i}`).join();

test.each<[label: string, text: string, access: HostAccess | undefined | null]>([
  ['skep.devices', '/dev/fuse', devices(device('/dev/fuse'))],
  [
    'skep.devices',
    '/dev/ttyUSB0:/dev/modem, /dev/snd:r,/dev/net/tun:/dev/net/tun:rw',
    devices(
      device('/dev/ttyUSB0', '/dev/modem'),
      device('/dev/snd', '/dev/snd', 'r'),
      device('/dev/net/tun', '/dev/net/tun', 'rw'),
    ),
  ],
  ...[
    '',
    ',',
    '/dev',
    'fuse',
    '/etc/passwd',
    '/dev/../etc',
    '/dev/./fuse',
    '/dev//fuse',
    '/dev/fuse/',
    '/dev/tty*',
  ].map((text): [string, string, null] => ['skep.devices', text, null]),
  ...[
    '/dev/a:b',
    '/dev/a:/dev/b:x',
    '/dev/a:rr',
    '/dev/a:/dev/b:rw:/dev/c',
    '/dev/a:',
    many,
    `/dev/${'a'.repeat(251)}`,
  ].map((text): [string, string, null] => ['skep.devices', text, null]),
  ['skep.privileged', 'true', { ...none, privileged: true }],
  ['skep.privileged', 'false', undefined],
  ['skep.privileged', 'True', null],
  ['skep.privileged', '', null],
  ['skep.shm-size', '64m', { ...none, shmSizeBytes: 67_108_864 }],
  ['skep.shm-size', '1GiB', { ...none, shmSizeBytes: 2 ** 30 }],
  ['skep.shm-size', '1.5k', { ...none, shmSizeBytes: 1536 }],
  ['skep.shm-size', '4096', { ...none, shmSizeBytes: 4096 }],
  ['skep.shm-size', '100 MB', { ...none, shmSizeBytes: 100 * 2 ** 20 }],
  ...['', '0', '-1', '64x', '1e3', '99999999p', 'm'].map((text): [string, string, null] => [
    'skep.shm-size',
    text,
    null,
  ]),
])('%s=%j asks for %j', (label, text, access) => {
  const expected = {
    'skep.devices': '1 to 64 devices with commas between, each /dev/NAME[:/dev/NAME-IN-CONTAINER][:rwm]',
    'skep.privileged': 'true or false',
    'skep.shm-size': 'a number of bytes, such as 67108864, 64m or 1g',
  }[label];
  const fault = `invalid label ${label}=${JSON.stringify(text)}: must be ${expected}`;
  expect(faultOfHostAccessLabels({ [label]: text })).toBe(access === null ? fault : undefined);
  expect(hostAccess({ [label]: text, other: 'x' })).toEqual(access ?? undefined);
});

test.each([
  ['', nothingAllowed],
  [
    'devices=/dev/ttyUSB*, devices=/dev/snd/*,privileged,shm-size',
    { devices: ['/dev/ttyUSB*', '/dev/snd/*'], privileged: true, shmSize: true },
  ],
])('a setting %j', (text, allowance) => {
  expect(parseAllowance(text)).toEqual(allowance);
  expect(parseAllowance(formatAllowance(allowance))).toEqual(allowance);
});

test.each(['all', 'devices', 'devices=', 'devices=*', 'devices=/*', 'devices=/dev/../*', 'privileged=true'])(
  'a setting %j means nothing',
  (text) => {
    expect(() => parseAllowance(`shm-size,${text}`)).toThrow(`cannot allow ${JSON.stringify(text)}`);
  },
);

test.each<[setting: string, labels: Record<string, string>, fault: string | undefined]>([
  ['', {}, undefined],
  ['', { 'skep.privileged': 'false' }, undefined],
  ['', { 'skep.privileged': 'true' }, 'skep.privileged is not allowed on this node'],
  ['privileged', { 'skep.privileged': 'true' }, undefined],
  ['privileged', { 'skep.shm-size': '1g' }, 'skep.shm-size is not allowed on this node'],
  ['shm-size', { 'skep.shm-size': '1g' }, undefined],
  ['privileged', { 'skep.devices': '/dev/fuse' }, 'skep.devices: /dev/fuse is not allowed on this node'],
  ['devices=/dev/fuse', { 'skep.devices': '/dev/fuse:/dev/x:r' }, undefined],
  [
    'devices=/dev/f*',
    { 'skep.devices': '/dev/fuse,/dev/kvm' },
    'skep.devices: /dev/kvm is not allowed on this node',
  ],
  [
    'devices=/dev/*',
    { 'skep.devices': '/dev/net/tun' },
    'skep.devices: /dev/net/tun is not allowed on this node',
  ],
  ['devices=/dev/*/*', { 'skep.devices': '/dev/net/tun' }, undefined],
  ['devices=/dev/t*y*0', { 'skep.devices': '/dev/ttyUSB0' }, undefined],
  [
    'devices=/dev/t*y*0',
    { 'skep.devices': '/dev/ttyUSB01' },
    'skep.devices: /dev/ttyUSB01 is not allowed on this node',
  ],
])('where %j is allowed, %j: %s', (setting, labels, fault) => {
  expect(faultOfAccess(hostAccess(labels), parseAllowance(setting))).toBe(fault);
});

const saying = (text: string): Node => {
  const plain = node('n1');
  const description = plain.description as NonNullable<Node['description']>;
  return {
    ...plain,
    description: { ...description, engine: { ...description.engine, labels: { 'skep.allow': text } } },
  };
};

test('what a node says that nobody understands allows nothing; what it says costs no time', () => {
  expect(allowanceOf(saying('privileged'))).toEqual({ ...nothingAllowed, privileged: true });
  expect(allowanceOf(saying('privileged,everything'))).toEqual(nothingAllowed);
  expect(allowanceOf(node('n1'))).toEqual(nothingAllowed);
  const hostile = allowanceOf(saying(`devices=/dev/${'*a'.repeat(120)}b`));
  const startedMs = performance.now();
  expect(faultOfAccess(devices(device(`/dev/${'a'.repeat(250)}`)), hostile)).toBeDefined();
  expect(performance.now() - startedMs).toBeLessThan(100);
});
