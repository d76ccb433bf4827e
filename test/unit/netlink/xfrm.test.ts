/** IPsec states and policies through our own bytes, and where in them the kernel looks (struct xfrm_usersa_info and others). */
import { inspect, isDeepStrictEqual } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { Ip } from '../../../src/model/addresses.js';
import { SecretBytes } from '../../../src/model/secret-bytes.js';
import * as c from '../../../src/dataplane/netlink/constants.js';
import type { NetlinkMessage, NetlinkRequest } from '../../../src/dataplane/netlink/message.js';
import type { EspPolicy } from '../../../src/dataplane/netlink/xfrm.js';
import {
  formatEspPolicy,
  formatEspState,
  parseEspPolicy,
  parseEspState,
} from '../../../src/dataplane/netlink/xfrm.js';

const sent = ({ type, flags, payload }: NetlinkRequest): NetlinkMessage => ({
  type,
  flags,
  sequence: 1,
  portId: 0,
  payload,
});
const ip = (text: string): Ip => text as Ip;
const keyAndSalt = new SecretBytes(Buffer.from('0123456789abcdefSALT'));

describe('states', () => {
  for (const [source, destination] of [
    ['192.0.2.1', '192.0.2.2'],
    ['2001:db8::1', '2001:db8::2'],
  ] as const)
    test(`${source} to ${destination}`, () => {
      const state = { source: ip(source), destination: ip(destination), spi: 0x80000001, reqid: 0x5e001005 };
      const request = formatEspState({ ...state, keyAndSalt });
      expect(parseEspState(sent(request))).toEqual({ ...state, sent: 0 });
      expect(request.payload.readUInt32BE(56 + 16)).toBe(0x80000001);
      expect(request.payload.includes('rfc4106(gcm(aes))\0')).toBe(true);
      expect(request.payload.includes('0123456789abcdefSALT')).toBe(true);
    });

  test('how many packets were sent', () => {
    const request = formatEspState({
      source: ip('192.0.2.1'),
      destination: ip('192.0.2.2'),
      spi: 256,
      reqid: 1,
      keyAndSalt,
    });
    // XFRMA_REPLAY_ESN_VAL is the last attribute: 24 octets and a bitmap of 128.
    const oseq = request.payload.length - 152 + 4;
    request.payload.writeUInt32LE(77, oseq);
    expect(parseEspState(sent(request))?.sent).toBe(77);
  });

  test('none of another protocol or mode', () => {
    const make = (): NetlinkRequest =>
      formatEspState({
        source: ip('192.0.2.1'),
        destination: ip('192.0.2.2'),
        spi: 256,
        reqid: 1,
        keyAndSalt,
      });
    const ah = make();
    ah.payload.writeUInt8(51, 56 + 20);
    const tunnel = make();
    tunnel.payload.writeUInt8(1, 214);
    expect([parseEspState(sent(ah)), parseEspState(sent(tunnel))]).toEqual([null, null]);
  });
});

const policies: EspPolicy[] = [
  {
    direction: 'in',
    source: null,
    destination: ip('192.0.2.1'),
    port: 4790,
    priority: 94,
    action: { kind: 'protect', reqid: 0x5e800000 },
  },
  {
    direction: 'out',
    source: ip('192.0.2.1'),
    destination: null,
    port: 4790,
    priority: 94,
    action: { kind: 'block' },
  },
  {
    direction: 'out',
    source: ip('2001:db8::1'),
    destination: ip('2001:db8::2'),
    port: 65_535,
    priority: 0xffffffff,
    action: { kind: 'protect', reqid: 1 },
  },
];

describe('policies', () => {
  for (const policy of policies)
    test(`${policy.direction} ${policy.action.kind} ${policy.source ?? policy.destination}`, () => {
      expect(parseEspPolicy(sent(formatEspPolicy(policy, c.XFRM_MSG_UPDPOLICY)))).toEqual(policy);
    });

  const [first] = policies as [EspPolicy];
  const strange: [name: string, change: (payload: Buffer) => unknown][] = [
    ['another protocol than UDP', (payload) => payload.writeUInt8(6, 44)],
    ['a range of ports', (payload) => payload.writeUInt16BE(0xff00, 34)],
    ['a source port', (payload) => payload.writeUInt16BE(0xffff, 38)],
    ['a subnet', (payload) => payload.writeUInt8(24, 42)],
    ['forwarded packets', (payload) => payload.writeUInt8(2, 160)],
    ['another mode', (payload) => payload.writeUInt8(1, 168 + 4 + 48)],
    ['a template that is optional', (payload) => payload.writeUInt8(1, 168 + 4 + 50)],
  ];
  for (const [name, change] of strange)
    test(`not ours to read: ${name}`, () => {
      const request = formatEspPolicy(first, c.XFRM_MSG_NEWPOLICY);
      change(request.payload);
      expect(parseEspPolicy(sent(request))).toBeNull();
    });
});

test('secrets differ by content', () => {
  const other = new SecretBytes(Buffer.from('0123456789abcdefTLAS'));
  expect(isDeepStrictEqual({ keyAndSalt }, { keyAndSalt: other })).toBe(false);
  expect(isDeepStrictEqual({ keyAndSalt }, { keyAndSalt: new SecretBytes(keyAndSalt.reveal()) })).toBe(true);
});

test('a secret shows in no text', () => {
  const texts = [String(keyAndSalt), JSON.stringify({ keyAndSalt }), inspect(keyAndSalt)];
  expect(texts).toEqual(['[secret]', '{"keyAndSalt":"[secret]"}', '[secret]']);
});
