import { networkInterfaces } from 'node:os';
import { describe, expect, test } from 'vitest';
import {
  hostRoutes,
  HostRoutes,
  localAddresses,
  readHostRoutes,
} from '../../../src/controlplane/agent/host-routes.js';
import { hostRoutesMax, parseHostRoutes, routeInTheWay } from '../../../src/model/host-routes.js';
import type { Cidr } from '../../../src/model/addresses.js';
import { node } from '../../support/cluster-objects.js';

const heading = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';
/** As the kernel prints it: octets backwards. */
const hex = (address: string): string =>
  address
    .split('.')
    .reverse()
    .map((octet) => Number(octet).toString(16).padStart(2, '0').toUpperCase())
    .join('');
const four = (device: string, destination: string, mask: string): string =>
  `${device}\t${hex(destination)}\t00000000\t0001\t0\t0\t0\t${hex(mask)}\t0\t0\t0\n`;
const six = (device: string, destination: string, length: string): string =>
  `${destination} ${length} ${'0'.repeat(32)} 00 ${'0'.repeat(32)} 00000100 00000001 00000000 00000001     ${device}\n`;
const shown = (v4: string, v6 = '', addresses: { device: string; cidr: string }[] = []): string[] =>
  hostRoutes(heading + v4, v6, addresses).map(({ destination, device }) => `${destination} ${device}`);

test('the main table, without default routes and what is ours', () => {
  expect(
    shown(
      four('eth0', '0.0.0.0', '0.0.0.0') +
        four('tun0', '0.0.0.0', '128.0.0.0') +
        four('tun0', '128.0.0.0', '128.0.0.0') +
        four('eth0', '192.168.50.0', '255.255.255.0') +
        four('docker0', '172.17.0.0', '255.255.0.0') +
        four('tun0', '10.64.0.0', '255.240.0.0') +
        four('sk-ingress', '240.62.192.3', '255.255.255.255'),
    ),
  ).toEqual(['10.64.0.0/12 tun0', '172.17.0.0/16 docker0', '192.168.50.0/24 eth0']);
});

test('IPv6 without what every device has', () => {
  const routes =
    six('eth0', 'fd000001000000000000000000000000', '40') +
    six('eth0', 'fe800000000000000000000000000000', '40') +
    six('eth0', 'ff000000000000000000000000000000', '08') +
    six('lo', '00000000000000000000000000000000', '00') +
    six('lo', '00000000000000000000000000000001', '80');
  expect(shown('', routes)).toEqual(['::1/128 lo', 'fd00:1::/64 eth0']);
});

test('addresses that no route leads to, and what lies in another left out', () => {
  expect(
    shown(four('eth0', '10.1.0.0', '255.255.0.0') + four('eth1', '10.1.2.0', '255.255.255.0'), '', [
      { device: 'dummy0', cidr: '198.51.100.7/32' },
      { device: 'eth0', cidr: '10.1.0.9/16' },
      { device: 'sk-ingress', cidr: '10.0.0.2/32' },
    ]),
  ).toEqual(['10.1.0.0/16 eth0', '198.51.100.7/32 dummy0']);
});

test('very many are told as fewer and larger ones that leave none out', () => {
  const many = Array.from({ length: 3000 }, (_, i) => `10.${i % 7}.${i % 251}.${(i * 37) % 256}`);
  const routes = hostRoutes(
    heading + many.map((each) => four('eth0', each, '255.255.255.255')).join(''),
    '',
    [],
  );
  expect(routes.length).toBeLessThanOrEqual(hostRoutesMax);
  const host = [{ id: 'n', description: { hostname: 'h', routes } }];
  for (const each of many) expect(routeInTheWay(host, `${each}/32` as Cidr)).toBeDefined();
  // No further than need be.
  expect(routeInTheWay(host, '11.0.0.0/8' as Cidr)).toBeUndefined();
  expect(routes.every(({ destination }) => Number(destination.split('/')[1]) >= 16)).toBe(true);
});

test("reads this host's", async () => {
  const routes = await readHostRoutes();
  expect(parseHostRoutes(routes)).toEqual(routes);
  expect(
    routeInTheWay([{ id: 'n', description: { hostname: 'here', routes } }], '127.0.0.0/16' as Cidr),
  ).toBe('127.0.0.0/8 dev lo of node here');
});

test('a manager takes no more than there may be, and nothing that is no route', () => {
  const one = { destination: '10.1.2.3/8', device: 'eth0' };
  expect(parseHostRoutes([one])).toEqual([{ destination: '10.0.0.0/8', device: 'eth0' }]);
  expect(() => parseHostRoutes([{ ...one, destination: 'x' }])).toThrow('invalid CIDR address: x');
  expect(() => parseHostRoutes(Array.from({ length: hostRoutesMax + 1 }, () => one))).toThrow(
    'more than 128',
  );
});

test('the route in the way is named with its node', () => {
  const nodes = [node('a', { routes: ['192.0.2.0/24'] }), node('b', { routes: ['10.0.0.0/8', 'fd00::/8'] })];
  expect(routeInTheWay(nodes, '10.9.0.0/16' as Cidr)).toBe('10.0.0.0/8 dev eth0 of node b');
  expect(routeInTheWay(nodes, 'fd12::/64' as Cidr)).toBe('fd00::/8 dev eth0 of node b');
  expect(routeInTheWay(nodes, '172.30.0.0/16' as Cidr)).toBeUndefined();
});

describe('the devices, which the kernel lists under a lock', () => {
  /** As the kernel prints it. */
  const trie = (...leaves: readonly (readonly [address: string, route: string])[]): string =>
    `Main:\n  +-- 0.0.0.0/0 3 0 5\n${leaves.map(([address, route]) => `     |-- ${address}\n        ${route}\n`).join('')}`;
  const own = ['192.168.50.1', '/32 host LOCAL'] as const;
  const lan = ['192.168.50.0', '/24 link UNICAST'] as const;
  const loopback6 = '00000000000000000000000000000001 01 80 10 80       lo\n';

  test.each<[name: string, trie: string, own6: string, isAsBefore: boolean]>([
    ['as they were', trie(own, lan), loopback6, true],
    ['routes of others came', trie(own, lan, ['172.18.0.0', '/16 link UNICAST']), loopback6, true],
    [
      'a link came up',
      trie(own, lan),
      `${loopback6}fe800000000000000042acfffe110002 07 40 20 80 veth1\n`,
      true,
    ],
    ['an address was given', trie(own, lan, ['10.1.2.3', '/32 host LOCAL']), loopback6, false],
    ['an address is gone', trie(lan), loopback6, false],
    [
      'an IPv6 address was given',
      trie(own, lan),
      `${loopback6}fd000000000000000000000000000001 02 40 00 80 eth0\n`,
      false,
    ],
  ])('%s', (_, trieNow, own6, isAsBefore) => {
    expect(localAddresses(trieNow, own6) === localAddresses(trie(own, lan), loopback6)).toBe(isAsBefore);
  });

  test('are listed once for as long as this host has the same addresses', async () => {
    let times = 0;
    const routes = new HostRoutes(() => {
      times += 1;
      return networkInterfaces();
    });
    const first = await routes.read();
    expect(first).toEqual(await readHostRoutes());
    expect(await routes.read()).toEqual(first);
    expect(times).toBe(1);
  });
});
