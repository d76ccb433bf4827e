import { describe, expect, test } from 'vitest';
import { AddressPool } from '../../../src/controlplane/allocator/address-pool.js';
import type { Cidr, Ip } from '../../../src/model/addresses.js';
import type { Vni } from '../../../src/model/ids.js';
import { network } from '../../support/cluster-objects.js';

const pool = (
  subnet: string,
  { range, cursor = 0 }: { range?: string; cursor?: number } = {},
): AddressPool => {
  const gateway = subnet.replace(/\d+\/\d+$/, '1') as Ip;
  return new AddressPool({
    ...network('n', { subnet, ...(range === undefined ? {} : { range }) }),
    addressCursor: cursor,
    allocation: { vni: 4096 as Vni, subnet: subnet as Cidr, gateway },
  });
};
const take = (from: AddressPool, count: number): (Ip | undefined)[] =>
  Array.from({ length: count }, () => from.next());

describe('AddressPool', () => {
  test('hands out serially, without network, gateway and broadcast address, then nothing', () => {
    expect(take(pool('10.0.1.0/29'), 6)).toEqual([
      '10.0.1.2',
      '10.0.1.3',
      '10.0.1.4',
      '10.0.1.5',
      '10.0.1.6',
      undefined,
    ]);
  });

  test('goes on behind the cursor and wraps', () => {
    expect(take(pool('10.0.1.0/29', { cursor: 5 }), 2)).toEqual(['10.0.1.6', '10.0.1.2']);
  });

  test('steps over what is held', () => {
    const held = pool('10.0.1.0/29');
    held.hold('10.0.1.2' as Ip);
    held.hold('10.0.1.3' as Ip);
    held.hold('192.0.2.1' as Ip);
    expect(take(held, 1)).toEqual(['10.0.1.4']);
  });

  test('stays within the range of the network', () => {
    expect(take(pool('10.0.1.0/24', { range: '10.0.1.128/30' }), 5)).toEqual([
      '10.0.1.128',
      '10.0.1.129',
      '10.0.1.130',
      '10.0.1.131',
      undefined,
    ]);
  });

  test('putBack leaves nothing behind', () => {
    const used = pool('10.0.1.0/29');
    const cursor = used.cursor;
    const address = used.next() as Ip;
    used.putBack(address, cursor);
    expect(used.next()).toBe(address);
  });

  test('knows IPv6', () => {
    const six = new AddressPool({
      ...network('n'),
      allocation: { vni: 1 as Vni, subnet: 'fd00::/64' as Cidr, gateway: 'fd00::1' as Ip },
    });
    expect(take(six, 2)).toEqual(['fd00::2', 'fd00::3']);
  });
});
