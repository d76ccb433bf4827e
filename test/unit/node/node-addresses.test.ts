import { describe, expect, test } from 'vitest';
import { addressTowards } from '../../../src/controlplane/node/address-towards.js';
import { resolveAddresses } from '../../../src/controlplane/node/node-addresses.js';
import type { AddressRequest, InterfaceAddress } from '../../../src/controlplane/node/node-addresses.js';

const link = (name: string, address: string): InterfaceAddress => ({
  name,
  address,
  internal: name === 'lo',
});
const lo = link('lo', '127.0.0.1');
const eth0 = link('eth0', '192.0.2.5');
const eth1 = link('eth1', '198.51.100.7');
const ask = (request: Partial<AddressRequest>): AddressRequest => ({
  listenAddr: '0.0.0.0:2377',
  advertiseAddr: '',
  dataPathAddr: '',
  ...request,
});

describe('resolveAddresses', () => {
  const good: Array<[string, Partial<AddressRequest>, InterfaceAddress[], string]> = [
    ['the only address of the host', {}, [lo, eth0], '0.0.0.0:2377 192.0.2.5:2377 192.0.2.5'],
    [
      "Docker's bridges do not count",
      {},
      [lo, eth0, link('docker0', '172.17.0.1')],
      '0.0.0.0:2377 192.0.2.5:2377 192.0.2.5',
    ],
    [
      'an interface name',
      { advertiseAddr: 'eth1' },
      [lo, eth0, eth1],
      '0.0.0.0:2377 198.51.100.7:2377 198.51.100.7',
    ],
    [
      'a name with a port',
      { advertiseAddr: 'eth1:4000' },
      [lo, eth0, eth1],
      '0.0.0.0:2377 198.51.100.7:4000 198.51.100.7',
    ],
    [
      'listening on one address advertises it',
      { listenAddr: '192.0.2.5:5000' },
      [lo, eth0, eth1],
      '192.0.2.5:5000 192.0.2.5:5000 192.0.2.5',
    ],
    ['the usual port', { listenAddr: '0.0.0.0:' }, [eth0], '0.0.0.0:2377 192.0.2.5:2377 192.0.2.5'],
    [
      'a data path of its own',
      { advertiseAddr: '192.0.2.5', dataPathAddr: 'eth1' },
      [eth0, eth1],
      '0.0.0.0:2377 192.0.2.5:2377 198.51.100.7',
    ],
  ];
  test.each(good)('%s', (_name, request, interfaces, expected) => {
    const got = resolveAddresses(ask(request), interfaces);
    expect(
      `${got.listenHost}:${got.listenPort} ${got.advertiseHost}:${got.advertisePort} ${got.dataPathHost}`,
    ).toBe(expected);
  });

  const refused: Array<[Partial<AddressRequest>, InterfaceAddress[], string]> = [
    [
      { listenAddr: '0.0.0.0:abc' },
      [eth0],
      'manager stopped: failed to listen on remote API address: listen tcp: address tcp/abc: unknown port',
    ],
    [
      { listenAddr: '[::]:99999' },
      [eth0],
      'manager stopped: failed to listen on remote API address: listen tcp: address 99999: invalid port',
    ],
    [{}, [lo], "could not find the system's IP address"],
    [
      { listenAddr: 'nope' },
      [eth0],
      'listen address must be an IP address or network interface (with optional port number)',
    ],
    [
      { advertiseAddr: '0.0.0.0' },
      [eth0],
      'advertise address must be a non-zero IP address or network interface (with optional port number)',
    ],
    [
      { dataPathAddr: '192.0.2.5:1' },
      [eth0],
      'data path address must be a non-zero IP address or network interface (without a port number)',
    ],
    [
      {},
      [eth0, eth1],
      'could not choose an IP address to advertise since this system has multiple addresses on different interfaces (192.0.2.5 on eth0 and 198.51.100.7 on eth1)',
    ],
    [
      {},
      [eth0, link('eth0', '192.0.2.6')],
      'could not choose an IP address to advertise since this system has multiple addresses on interface eth0 (192.0.2.5 and 192.0.2.6)',
    ],
  ];
  test.each(refused)('refuses %j', (request, interfaces, text) => {
    expect(() => resolveAddresses(ask(request), interfaces)).toThrow(text);
  });
});

test('towards this host itself there is no address to advertise', async () => {
  expect(await addressTowards('127.0.0.1', 2377)).toBeUndefined();
});
