import { describe, expect, test } from 'vitest';
import { AddressPool, quarantineMs } from '../../../src/controlplane/allocator/address-pool.js';
import type { Cidr, Ip } from '../../../src/model/addresses.js';
import type { Vni } from '../../../src/model/ids.js';
import type { Network } from '../../../src/model/objects.js';
import { network } from '../../support/cluster-objects.js';

type Ledger = NonNullable<Network['addressLedger']>;

const nowMs = 1_000_000;
const pool = (
  subnet: string,
  {
    range,
    aux,
    cursor = 0,
    ledger,
    held = [],
  }: { range?: string; aux?: string; cursor?: number; ledger?: Ledger; held?: readonly string[] } = {},
): AddressPool => {
  const gateway = subnet.replace(/[\da-f]*\/\d+$/, '1') as Ip;
  const made = new AddressPool(
    {
      ...network('n', {
        subnet,
        ...(range === undefined ? {} : { range }),
        ...(aux === undefined ? {} : { auxiliaryAddresses: { other: aux } }),
      }),
      addressCursor: cursor,
      ...(ledger ? { addressLedger: ledger } : {}),
      allocation: { vni: 4096 as Vni, subnet: subnet as Cidr, gateway },
    },
    nowMs,
  );
  for (const address of held) made.hold(address as Ip);
  made.settle();
  return made;
};
const take = (from: AddressPool, count: number): (Ip | undefined)[] =>
  Array.from({ length: count }, () => from.next()?.address);

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

  test('steps over what is held, and over what the user keeps', () => {
    const held = ['10.0.1.2', '10.0.1.3', '192.0.2.1'];
    expect(take(pool('10.0.1.0/29', { held, aux: '10.0.1.4' }), 3)).toEqual([
      '10.0.1.5',
      '10.0.1.6',
      undefined,
    ]);
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

  test('goes through several subnets in their order, each without its own gateway, and then begins again', () => {
    const [first, second] = ['10.0.1.0/30', '10.0.9.0/29'] as Cidr[];
    const two = {
      ...network('n', { subnet: first! }),
      allocation: {
        ...{ vni: 4096 as Vni, subnet: first!, gateway: '10.0.1.1' as Ip },
        furtherSubnets: [{ subnet: second!, gateway: '10.0.9.6' as Ip }],
      },
    };
    const used = new AddressPool(two, nowMs);
    used.hold('10.0.9.2' as Ip);
    used.settle();
    const given = ['10.0.1.2', '10.0.9.1', '10.0.9.3', '10.0.9.4', '10.0.9.5'];
    expect(take(used, 6)).toEqual([...given, undefined]);
    expect([used.take('10.0.9.2' as Ip), used.take('10.0.9.6' as Ip), used.take('10.0.8.1' as Ip)]).toEqual([
      false,
      false,
      false,
    ]);
    used.release('10.0.9.3' as Ip);
    expect(used.ledger()).toEqual({ held: '2,5-6,8-9', freed: [{ atMs: nowMs, hosts: '7' }] });

    const later = new AddressPool({ ...two, addressLedger: used.ledger()! }, nowMs + quarantineMs + 10_000);
    for (const address of ['10.0.1.2', '10.0.9.4'] as Ip[]) later.hold(address);
    later.settle();
    expect(take(later, 1)).toEqual(['10.0.9.3']);
  });

  test('putBack leaves nothing behind', () => {
    const used = pool('10.0.1.0/29', { ledger: { held: '', freed: [{ atMs: nowMs, hosts: '2-6' }] } });
    expect(used.ledger()).toBeUndefined();
    const taking = used.next();
    expect(taking?.address).toBe('10.0.1.2');
    if (taking) used.putBack(taking);
    expect(used.ledger()).toBeUndefined();
    expect(take(used, 2)).toEqual(['10.0.1.2', '10.0.1.3']);
  });

  test('knows IPv6', () => {
    expect(take(pool('fd00::/64'), 2)).toEqual(['fd00::2', 'fd00::3']);
    const freed = pool('fd00::/64', { ledger: { held: '2-3', freed: [] }, held: ['fd00::3'] });
    expect(take(freed, 2)).toEqual(['fd00::4', 'fd00::5']);
  });
});

describe('what was freed', () => {
  const freedAt = (atMs: number, hosts: string): Ledger => ({ held: '', freed: [{ atMs, hosts }] });
  test.each<[name: string, subnet: string, ledger: Ledger, held: string[], taken: (string | undefined)[]]>([
    ['rests', '10.0.1.0/28', freedAt(nowMs - 1, '2-4'), [], ['10.0.1.5', '10.0.1.6']],
    ['rests just not for ever', '10.0.1.0/28', freedAt(nowMs - quarantineMs, '2-4'), [], ['10.0.1.2']],
    ['and no millisecond less', '10.0.1.0/28', freedAt(nowMs - quarantineMs + 1, '2-4'), [], ['10.0.1.5']],
    [
      'is seen by its holder having gone, whoever let it go',
      '10.0.1.0/28',
      { held: '2-5', freed: [] },
      ['10.0.1.3'],
      ['10.0.1.6'],
    ],
    [
      'is given before its time where nothing else is left, the longest freed first',
      '10.0.1.0/29',
      { held: '2', freed: [{ atMs: nowMs - 9, hosts: '5-6' }, { atMs: nowMs - 5, hosts: '3-4' }] }, // prettier-ignore
      ['10.0.1.2'],
      ['10.0.1.5', '10.0.1.6', '10.0.1.3', '10.0.1.4', undefined],
    ],
  ])('%s', (_, subnet, ledger, held, taken) => {
    expect(take(pool(subnet, { ledger, held }), taken.length)).toEqual(taken);
  });

  test('stands in the ledger until it has rested', () => {
    const ledger = { held: '2-5', freed: [{ atMs: nowMs - 10, hosts: '6-8' }, { atMs: nowMs - quarantineMs, hosts: '9' }] }; // prettier-ignore
    const used = pool('10.0.1.0/24', { ledger, held: ['10.0.1.2', '10.0.1.4'], cursor: 8 });
    expect(take(used, 1)).toEqual(['10.0.1.9']);
    expect(used.ledger()).toEqual({
      held: '2,4,9',
      freed: [
        { atMs: nowMs - 10, hosts: '6-8' },
        { atMs: nowMs, hosts: '3,5' },
      ],
    });
  });

  test('is nothing to write where nothing changed', () => {
    const ledger = { held: '2,4', freed: [{ atMs: nowMs - 10, hosts: '6-8' }] };
    expect(pool('10.0.1.0/24', { ledger, held: ['10.0.1.2', '10.0.1.4'] }).ledger()).toBeUndefined();
    expect(pool('10.0.1.0/24').ledger()).toBeUndefined();
    // A network of before there was a ledger.
    expect(pool('10.0.1.0/24', { held: ['10.0.1.2'] }).ledger()).toEqual({ held: '2', freed: [] });
  });
});
