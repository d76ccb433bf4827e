/** Filters and the clsact qdisc: kernel bytes to values, and what we ask for in the kernel's own form. */
import { describe, expect, test } from 'vitest';
import { Attributes } from '../../../src/dataplane/netlink/attributes.js';
import * as c from '../../../src/dataplane/netlink/constants.js';
import type { NetlinkMessage } from '../../../src/dataplane/netlink/message.js';
import { parseRouteEvent } from '../../../src/dataplane/netlink/route.js';
import {
  formatClsact,
  formatFilter,
  parseClsact,
  parseFilter,
  parsePlace,
} from '../../../src/dataplane/netlink/tc.js';
import { recorded } from './recorded.js';

const message = (payload: Buffer, type = 0): NetlinkMessage => ({
  type,
  flags: 0,
  sequence: 1,
  portId: 0,
  payload,
});

const place = { index: 2, hook: 'ingress', priority: 94, handle: 1 } as const;
const filter = { ...place, programFd: 17, name: 'skep_vip', classId: 4097 };

describe('filters', () => {
  test('of the kernel', () => {
    expect(parseFilter(message(recorded.tc.filter))).toEqual({
      ...place,
      name: 'skep_vip',
      tag: '691ef55febf78432',
      programId: 186,
      classId: 4097,
      directAction: true,
    });
  });

  test.each([
    ['a priority without a filter', recorded.tc.priority],
    ['a qdisc', recorded.tc.clsact],
  ])('%s is none', (_, payload) => {
    expect(parseFilter(message(payload))).toBeNull();
  });

  test('a filter of another kind is none', () => {
    const payload = Buffer.from(recorded.tc.filter);
    payload.write('xyz', payload.indexOf('bpf'));
    expect(parseFilter(message(payload))).toBeNull();
  });

  test('a new one has the header the kernel gives it, and the descriptor', () => {
    const { type, flags, payload } = formatFilter(filter);
    expect([type, flags]).toEqual([c.RTM_NEWTFILTER, c.NLM_F_CREATE | c.NLM_F_REPLACE]);
    expect(payload.subarray(0, 20)).toEqual(recorded.tc.filter.subarray(0, 20));
    const attributes = new Attributes(payload.subarray(20));
    const options = attributes.nested(c.TCA_OPTIONS);
    expect(attributes.string(c.TCA_KIND)).toBe('bpf');
    expect(options?.u32(c.TCA_BPF_FD)).toBe(17);
    expect(parseFilter(message(payload))).toEqual({
      ...place,
      name: 'skep_vip',
      tag: null,
      programId: null,
      classId: 4097,
      directAction: true,
    });
  });

  test('egress is another place; class id 0 is none', () => {
    const { payload } = formatFilter({ ...filter, hook: 'egress', classId: 0 });
    expect(payload.readUInt32LE(12)).toBe(0xfffffff3);
    expect(parsePlace(payload)).toEqual({ ...place, hook: 'egress' });
    expect(new Attributes(payload.subarray(20)).nested(c.TCA_OPTIONS)?.has(c.TCA_BPF_CLASSID)).toBe(false);
  });

  test('a class id of which the program would see a part is refused', () => {
    expect(() => formatFilter({ ...filter, classId: 0x10000 })).toThrow(/16 bits/);
  });
});

describe('clsact', () => {
  test('of the kernel, and as asked for', () => {
    const { flags, payload } = formatClsact(2);
    expect(flags).toBe(c.NLM_F_CREATE | c.NLM_F_EXCL);
    expect(parseClsact(message(recorded.tc.clsact))).toBe(2);
    expect(parseClsact(message(payload))).toBe(2);
    expect(payload.subarray(0, 16)).toEqual(recorded.tc.clsact.subarray(0, 16));
  });

  test('another qdisc is none', () => {
    const payload = Buffer.from(recorded.tc.clsact);
    payload.write('fq_pie', payload.indexOf('clsact'));
    expect(parseClsact(message(payload))).toBeNull();
  });
});

test.each([
  ['a filter', c.RTM_NEWTFILTER, recorded.tc.filter, { object: 'filter', removed: false, place }],
  [
    'all filters of a priority gone',
    c.RTM_DELTFILTER,
    recorded.tc.priority,
    { object: 'filter', removed: true, place: { ...place, handle: 0 } },
  ],
  ['the qdisc gone', c.RTM_DELQDISC, recorded.tc.clsact, { object: 'clsact', removed: true, index: 2 }],
])('notification: %s', (_, type, payload, expected) => {
  expect(parseRouteEvent(message(payload, type))).toEqual(expected);
});
