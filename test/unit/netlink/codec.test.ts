/** Framing: messages, attributes and acknowledgements, data to data. */
import { describe, expect, test } from 'vitest';
import type { Ip, Mac } from '../../../src/model/addresses.js';
import {
  Attributes,
  AttributeWriter,
  bytesToIp,
  ipToBytes,
} from '../../../src/dataplane/netlink/attributes.js';
import * as c from '../../../src/dataplane/netlink/constants.js';
import {
  formatMessage,
  parseAcknowledgement,
  parseDone,
  parseMessages,
} from '../../../src/dataplane/netlink/message.js';
import { isErrno, NetlinkError } from '../../../src/dataplane/netlink/netlink-error.js';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('attributes', () => {
  test.each<[string, (w: AttributeWriter) => AttributeWriter, string]>([
    ['u8 is padded', (w) => w.u8(1, 7), '0500 0100 07000000'],
    ['u16', (w) => w.u16(2, 0x1234), '0600 0200 34120000'],
    ['u32', (w) => w.u32(3, 0xffffffff), '0800 0300 ffffffff'],
    ['a port is in network order', (w) => w.be16(4, 4789), '0600 0400 12b50000'],
    ['a string ends in NUL', (w) => w.string(5, 'br0'), '0800 0500 62723000'],
    ['a flag is empty', (w) => w.flag(6), '0400 0600'],
    ['mac', (w) => w.mac(1, '02:42:00:00:00:07' as Mac), '0a00 0100 02420000 00070000'],
    ['ip', (w) => w.ip(1, '10.0.1.2' as Ip), '0800 0100 0a000102'],
    ['nested', (w) => w.nested(1, (inner) => inner.u8(2, 1)), '0c00 0180 0500 0200 01000000'],
  ])('%s', (_name, write, expected) => {
    expect(write(new AttributeWriter()).toBuffer()).toEqual(hex(expected));
  });

  test('what is written is read', () => {
    const read = new Attributes(
      new AttributeWriter()
        .u8(1, 200)
        .u32(2, 4_000_000_000)
        .ip(3, 'fd00:1::2' as Ip)
        .nested(4, (inner) => inner.string(1, 'rr').nested(2, (array) => array.u16(1, 9)))
        .toBuffer(),
    );
    expect(read.u8(1)).toBe(200);
    expect(read.u32(2)).toBe(4_000_000_000);
    expect(read.ip(3)).toBe('fd00:1::2');
    expect(read.nested(4)?.string(1)).toBe('rr');
    expect(read.nested(4)?.nested(2)?.u16(1)).toBe(9);
    expect(read.u8(5)).toBeUndefined();
    expect(read.types()).toEqual([1, 2, 3, 4]);
  });

  test.each(['0300 0100', '0900 0100 00000000'])('a length out of bounds is a bug: %s', (bytes) => {
    expect(() => new Attributes(hex(bytes))).toThrow(/out of bounds/);
  });

  test.each(['0.0.0.0', '10.0.1.2', '255.255.255.255', '::', 'fd00:1::2', '2001:db8::a:b'])('%s', (ip) => {
    expect(bytesToIp(ipToBytes(ip as Ip))).toBe(ip);
  });
});

describe('messages', () => {
  test('a request, as the kernel takes it', () => {
    const message = formatMessage(
      { type: c.RTM_GETLINK, flags: c.NLM_F_DUMP, payload: hex('00000000 00') },
      7,
    );
    expect(message).toEqual(hex('15000000 1200 0103 07000000 00000000 00000000 00000000'));
  });

  test('several in one datagram, each padded', () => {
    const one = formatMessage({ type: 20, flags: 0, payload: hex('01') }, 5);
    const two = formatMessage({ type: 21, flags: c.NLM_F_MULTI, payload: hex('02030405') }, 5);
    expect(parseMessages(Buffer.concat([one, two]))).toEqual([
      { type: 20, flags: c.NLM_F_REQUEST, sequence: 5, portId: 0, payload: hex('01') },
      { type: 21, flags: c.NLM_F_REQUEST | c.NLM_F_MULTI, sequence: 5, portId: 0, payload: hex('02030405') },
    ]);
  });

  const echoedHeader = '24000000 1000 0506 01000000 00000000';
  test.each<[string, number, string, { errno: number; text: string | null }]>([
    ['success', c.NLM_F_CAPPED, `00000000 ${echoedHeader}`, { errno: 0, text: null }],
    ['EEXIST', c.NLM_F_CAPPED, `efffffff ${echoedHeader}`, { errno: 17, text: null }],
    [
      'with the kernel’s words',
      c.NLM_F_CAPPED | c.NLM_F_ACK_TLVS,
      `eaffffff ${echoedHeader} 0800 0100 62616400`,
      { errno: 22, text: 'bad' },
    ],
    [
      'with the whole request echoed before them',
      c.NLM_F_ACK_TLVS,
      `eaffffff 14000000 1000 0506 01000000 00000000 deadbeef 0800 0100 62616400`,
      { errno: 22, text: 'bad' },
    ],
  ])('acknowledgement: %s', (_name, flags, payload, expected) => {
    const message = { type: c.NLMSG_ERROR, flags, sequence: 1, portId: 0, payload: hex(payload) };
    expect(parseAcknowledgement(message)).toEqual(expected);
  });

  test('the end of a dump may carry an errno', () => {
    const done = { type: c.NLMSG_DONE, flags: 0, sequence: 1, portId: 0 };
    expect(parseDone({ ...done, payload: hex('00000000') }).errno).toBe(0);
    expect(parseDone({ ...done, payload: hex('feffffff') }).errno).toBe(2);
  });
});

describe('errors', () => {
  test.each<[number, string, boolean]>([
    [17, 'EEXIST', false],
    [16, 'EBUSY', true],
    [105, 'ENOBUFS', true],
    [524, 'ENOTSUPP', false],
    [9999, 'E9999', false],
  ])('errno %d is %s', (errno, code, retryable) => {
    const err = NetlinkError.from(24, { errno, text: 'why' });
    expect(err).toMatchObject({ code, retryable, text: 'why', requestType: 24 });
    expect(isErrno(err, 'EPERM', code)).toBe(true);
    expect(isErrno(err, 'EPERM')).toBe(false);
    expect(err.message).toContain('why');
  });
});
