/** Resets in packets, by octets that a kernel has sent. */
import { describe, expect, test } from 'vitest';
import { internetChecksum, parseReset, resetFrame } from '../../../../src/dataplane/resets/reset.js';
import type { Mac } from '../../../../src/model/addresses.js';

/** 10.0.1.5:42001 to 10.0.1.2:80, as a kernel answers what it has no socket for. */
const sent = Buffer.from(
  '450000280000400040062 4be0a0001050a000102a4110050deadbeef000000005004000000000000'.replace(' ', ''),
  'hex',
);
const withOctet = (at: number, value: number): Buffer => {
  const packet = Buffer.from(sent);
  packet.writeUInt8(value, at);
  return packet;
};
const transportOf = (packet: Buffer): Buffer =>
  Buffer.concat([packet.subarray(12, 20), Buffer.from([0, 6, 0, packet.length - 20]), packet.subarray(20)]);

describe('parseReset', () => {
  test('a reset is for its destination, with a checksum that is right', () => {
    const reset = parseReset(sent) ?? expect.fail();
    expect(reset.destination).toBe('10.0.1.2');
    expect(internetChecksum(transportOf(reset.packet))).toBe(0);
    expect(reset.packet.subarray(0, 36)).toEqual(sent.subarray(0, 36));
    // What follows the IP packet in what was received is none of it.
    expect(parseReset(Buffer.concat([sent, Buffer.alloc(6)]))).toEqual(reset);
  });

  test.each<[name: string, packet: Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['another version', withOctet(0, 0x65)],
    ['a header too short', withOctet(0, 0x44)],
    ['options that are not there', withOctet(0, 0x4f)],
    ['another protocol', withOctet(9, 17)],
    ['a fragment', withOctet(6, 0x20)],
    ['a later fragment', withOctet(7, 1)],
    ['a length beyond the packet', withOctet(3, 41)],
    ['a length within the header', withOctet(3, 39)],
    ['an acknowledgement', withOctet(33, 0x10)],
  ])('%s is none', (_, packet) => {
    expect(parseReset(packet)).toBeNull();
  });
});

test('resetFrame', () => {
  const reset = parseReset(sent) ?? expect.fail();
  const frame = resetFrame(reset, '02:00:00:00:00:01' as Mac, '02:00:00:00:00:02' as Mac);
  expect(frame.toString('hex')).toBe(`0200000000020200000000010800${reset.packet.toString('hex')}`);
});

test('internetChecksum: the example of RFC 1071', () => {
  expect(internetChecksum(Buffer.from('0001f203f4f5f6f7', 'hex'))).toBe(~0xddf2 & 0xffff);
  expect(internetChecksum(Buffer.from('0001f2', 'hex'))).toBe(~0xf201 & 0xffff);
});
