import { expect, test } from 'vitest';
import type { Cidr, Ip } from '../../../src/model/addresses.js';
import { ipToNumber, ipv4ToNumber } from '../../../src/model/addresses.js';
import { hostNumber, hostNumbers } from '../../../src/model/network-subnets.js';
import type { NetworkSubnets } from '../../../src/model/network-subnets.js';

const network = (...subnets: string[]): NetworkSubnets => {
  const [first, ...others] = subnets.map((subnet) => ({ subnet: subnet as Cidr, gateway: '' as Ip }));
  if (!first) throw new Error('one at least');
  return { ...first, ...(others.length > 0 && { furtherSubnets: others }) };
};

const addresses = [
  ...['10.0.0.0', '10.0.0.1', '10.0.0.255', '10.0.1.0', '10.3.255.255', '10.4.0.0', '9.255.255.255'],
  ...['192.168.7.1', '192.168.7.255', '255.255.255.255', '0.0.0.0', 'fd00::1', 'fd00::1:0', 'fd01::'],
] as Ip[];

test.each([
  [network('10.0.0.0/24')],
  [network('10.0.0.0/14', '192.168.7.0/24')],
  [network('0.0.0.0/0')],
  [network('fd00::/64')],
  [network('fd00::/112', '10.0.0.0/24')],
  [network('10.0.0.0/24', 'fd00::/112', '192.168.7.0/30')],
])('many addresses have the numbers that each has by itself: %j', (of) => {
  const numberOf = hostNumbers(of);
  for (const address of addresses) {
    const number = hostNumber(of, address);
    expect(numberOf(address), address).toBe(number === undefined ? undefined : Number(number));
  }
});

test.each([
  ...['', '1', '1.2.3', '1.2.3.', '1.2.3.4.', '1.2.3.4.5', '.1.2.3', '1..2.3', '256.1.1.1', '1.1.1.999'],
  ...['1.2.3.4 ', ' 1.2.3.4', '1.2.3.x', '1.2.3.-4', '1.2.3.0004', '1,2,3,4', '１.2.3.4'],
])('%j is no IPv4 address', (text) => {
  expect(() => ipv4ToNumber(text)).toThrow('invalid IP address');
  expect(() => ipToNumber(text)).toThrow('invalid IP address');
});

test('IPv4 addresses are read as the numbers that they are', () => {
  expect(ipv4ToNumber('255.255.255.255')).toBe(2 ** 32 - 1);
  expect(ipv4ToNumber('1.2.3.4')).toBe(0x01020304);
  expect(ipv4ToNumber('010.001.0.0')).toBe(0x0a010000);
});
