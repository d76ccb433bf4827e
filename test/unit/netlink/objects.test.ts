/** The objects of rtnetlink and IPVS: kernel bytes to values, and values through our own bytes back to themselves. */
import { describe, expect, test } from 'vitest';
import type { Cidr, Ip, Mac } from '../../../src/model/addresses.js';
import { formatAddress, parseAddress } from '../../../src/dataplane/netlink/addresses.js';
import { Attributes } from '../../../src/dataplane/netlink/attributes.js';
import * as c from '../../../src/dataplane/netlink/constants.js';
import { parseFamily } from '../../../src/dataplane/netlink/genl.js';
import {
  formatRealServer,
  formatVirtualServer,
  parseRealServer,
  parseTimeouts,
  parseVirtualServer,
} from '../../../src/dataplane/netlink/ipvs.js';
import type { VirtualServerKey } from '../../../src/dataplane/netlink/ipvs.js';
import { formatNewLink, formatPortChange, parseLink } from '../../../src/dataplane/netlink/links.js';
import type { NetlinkMessage } from '../../../src/dataplane/netlink/message.js';
import {
  formatFdbEntry,
  formatNeighbour,
  parseFdbEntry,
  parseNeighbour,
} from '../../../src/dataplane/netlink/neighbours.js';
import { parseRouteEvent } from '../../../src/dataplane/netlink/route.js';
import { formatRoute, parseRoute } from '../../../src/dataplane/netlink/routes.js';
import { formatRule, parseRule } from '../../../src/dataplane/netlink/rules.js';
import { recorded } from './recorded.js';

const message = (payload: Buffer, type = 0): NetlinkMessage => ({
  type,
  flags: 0,
  sequence: 1,
  portId: 0,
  payload,
});
const mac = (text: string): Mac => text as Mac;
const ip = (text: string): Ip => text as Ip;
const present = <T>(value: T | null): T => {
  if (value === null) throw new Error('not parsed');
  return value;
};

describe('links', () => {
  test('bridge', () => {
    expect(parseLink(message(recorded.links.bridge))).toEqual({
      index: 2,
      name: 'br0',
      kind: 'bridge',
      up: true,
      lowerUp: true,
      loopback: false,
      mtu: 1500,
      mac: '02:00:00:00:00:01',
      master: null,
      peerIndex: null,
      peerNetnsId: null,
      alias: null,
      vxlan: null,
      bridge: { stp: false, multicastSnooping: true, ageingTimeCs: 30_000 },
      port: null,
    });
  });

  test('vxlan that is a port', () => {
    expect(parseLink(message(recorded.links.vxlanPort))).toMatchObject({
      name: 'vxlan0',
      master: 2,
      alias: 'ours',
      vxlan: { vni: 4097, port: 4789, learning: false, local: '192.0.2.1', link: null },
      port: { learning: false, neighSuppress: true, hairpin: false, isolated: false, unicastFlood: true },
    });
  });

  test('a link without a kind', () => {
    expect(parseLink(message(recorded.links.loopback))).toMatchObject({
      name: 'lo',
      kind: null,
      loopback: true,
    });
  });

  test('a new vxlan reads back as asked for', () => {
    const vxlan = { vni: 4100, port: 4789, learning: false, local: ip('2001:db8::1'), link: 3 };
    const { payload, flags } = formatNewLink({ name: 'vx', kind: 'vxlan', mtu: 1450, up: true, ...vxlan });
    expect(flags).toBe(c.NLM_F_CREATE | c.NLM_F_EXCL);
    expect(parseLink(message(payload))).toMatchObject({
      name: 'vx',
      kind: 'vxlan',
      mtu: 1450,
      up: true,
      vxlan,
    });
  });

  test('a new veth carries its peer', () => {
    const peer = { name: 'b', mac: mac('02:00:00:00:00:0b') };
    const { payload } = formatNewLink({ name: 'a', kind: 'veth', peer });
    const data = new Attributes(payload.subarray(16)).nested(c.IFLA_LINKINFO)?.nested(c.IFLA_INFO_DATA);
    expect(parseLink(message(data?.bytes(c.VETH_INFO_PEER) ?? Buffer.alloc(0)))).toMatchObject(peer);
  });

  test('port attributes: only those given, in the bridge family, nested flag set', () => {
    const { type, payload } = formatPortChange(3, { learning: false, neighSuppress: true });
    expect(type).toBe(c.RTM_SETLINK);
    expect(payload.readUInt8(0)).toBe(c.AF_BRIDGE);
    expect(payload.readUInt16LE(18)).toBe(c.IFLA_PROTINFO | c.NLA_F_NESTED);
    const info = new Attributes(payload.subarray(16)).nested(c.IFLA_PROTINFO);
    expect(info?.types()).toEqual([c.IFLA_BRPORT_LEARNING, c.IFLA_BRPORT_NEIGH_SUPPRESS]);
  });

  test('a name that does not fit is refused before the kernel truncates it', () => {
    expect(() => formatNewLink({ name: 'x'.repeat(16), kind: 'bridge' })).toThrow(/IFNAMSIZ/);
  });
});

describe('round trips of recorded bytes', () => {
  test.each([
    ['v4', '10.0.1.2', 24],
    ['v6', 'fd00:1::2', 64],
  ] as const)('address %s', (name, address, prefixLength) => {
    const parsed = present(parseAddress(message(recorded.addresses[name])));
    expect(parsed).toMatchObject({
      index: 2,
      address,
      prefixLength,
      scope: 0,
      permanent: true,
      tentative: false,
    });
    const again = present(parseAddress(message(formatAddress(c.RTM_NEWADDR, 0, parsed).payload)));
    expect(again).toMatchObject({ index: 2, address, prefixLength, scope: 0 });
  });

  test('neighbour', () => {
    const parsed = present(parseNeighbour(message(recorded.neighbours.permanent)));
    expect(parsed).toEqual({
      index: 2,
      address: '10.0.1.7',
      mac: '02:42:00:00:00:07',
      state: 'permanent',
      protocol: 94,
    });
    const { index, address, state, protocol } = parsed;
    const request = formatNeighbour({ index, address, mac: mac('02:42:00:00:00:07'), state, protocol });
    expect(parseNeighbour(message(request.payload))).toEqual(parsed);
    expect(parseNeighbour(message(recorded.neighbours.multicast))).toMatchObject({ state: 'noarp' });
  });

  test('forwarding entries', () => {
    const own = present(parseFdbEntry(message(recorded.fdb.vxlan)));
    const entry = { index: 3, mac: mac('02:42:00:00:00:07') };
    expect(own).toEqual({
      ...entry,
      table: 'self',
      state: 'permanent',
      dst: '192.0.2.2',
      bridge: null,
      vlan: null,
    });
    expect(parseFdbEntry(message(formatFdbEntry(c.RTM_NEWNEIGH, 0, own).payload))).toEqual(own);
    const bridged = present(parseFdbEntry(message(recorded.fdb.bridgeStatic)));
    expect(bridged).toEqual({ ...entry, table: 'master', state: 'static', dst: null, bridge: 2, vlan: null });
    const again = parseFdbEntry(message(formatFdbEntry(c.RTM_NEWNEIGH, 0, bridged).payload));
    expect(again).toEqual({ ...bridged, bridge: null });
    expect(parseFdbEntry(message(recorded.neighbours.permanent))).toBeNull();
  });

  test.each([
    ['onlink', { destination: '240.0.1.5/32', gateway: '172.30.0.5', outIndex: 2, onlink: true, table: 254 }],
    ['local', { destination: '240.0.0.0/4', type: 'local', outIndex: 1, scope: 254, table: 255 }],
    ['v6Default', { destination: '::/0', gateway: 'fd00:1::1', table: 24100, priority: 1024 }],
    ['viaOtherFamily', { destination: '10.7.0.0/16', gateway: 'fd00:1::9', outIndex: 2, protocol: 3 }],
  ] as const)('route %s', (name, expected) => {
    const parsed = present(parseRoute(message(recorded.routes[name])));
    expect(parsed).toMatchObject(expected);
    expect(parseRoute(message(formatRoute(c.RTM_NEWROUTE, 0, parsed).payload))).toEqual(parsed);
  });

  test.each([
    ['incoming', { family: 4, priority: 5, inName: 'lo', destination: '10.0.1.9/32', table: 24099 }],
    ['goto', { family: 4, priority: 7, source: '240.1.0.0/18', action: 'goto', target: 32766 }],
    ['mark', { family: 6, priority: 8, mark: { value: 0x5e000001, mask: 0xffffffff }, table: 24100 }],
  ] as const)('rule %s', (name, expected) => {
    const parsed = present(parseRule(message(recorded.rules[name])));
    expect(parsed).toMatchObject({ ...expected, protocol: 94 });
    expect(parseRule(message(formatRule(c.RTM_NEWRULE, 0, parsed).payload))).toEqual(parsed);
  });
});

describe('scope of a new route, as ip route chooses it', () => {
  test.each<[string, Parameters<typeof formatRoute>[2], number]>([
    ['local', { destination: '240.0.0.0/4' as Cidr, type: 'local' }, c.RT_SCOPE_HOST],
    ['on the link', { destination: '10.0.0.0/8' as Cidr, outIndex: 2 }, c.RT_SCOPE_LINK],
    ['by a gateway', { destination: '10.0.0.0/8' as Cidr, gateway: ip('10.0.0.1') }, c.RT_SCOPE_UNIVERSE],
    ['IPv6 has none', { destination: 'fd00::/64' as Cidr, outIndex: 2 }, c.RT_SCOPE_UNIVERSE],
  ])('%s', (_name, route, scope) => {
    expect(formatRoute(c.RTM_NEWROUTE, 0, route).payload.readUInt8(6)).toBe(scope);
  });
});

describe('notifications', () => {
  test.each([
    [c.RTM_NEWLINK, recorded.links.bridge, { object: 'link', removed: false }],
    [c.RTM_DELLINK, recorded.links.bridge, { object: 'link', removed: true }],
    [c.RTM_DELADDR, recorded.addresses.v6, { object: 'address', removed: true }],
    [c.RTM_NEWNEIGH, recorded.neighbours.permanent, { object: 'neighbour', removed: false }],
    [c.RTM_DELNEIGH, recorded.fdb.vxlan, { object: 'fdb', removed: true }],
    [c.RTM_NEWROUTE, recorded.routes.onlink, { object: 'route', removed: false, replaces: false }],
    [c.RTM_DELRULE, recorded.rules.mark, { object: 'rule', removed: true }],
  ])('message type %d', (type, payload, expected) => {
    expect(parseRouteEvent(message(payload, type))).toMatchObject(expected);
  });

  test('the bridge’s own word on a port is no link event', () => {
    const payload = Buffer.from(recorded.links.vxlanPort);
    payload.writeUInt8(c.AF_BRIDGE, 0);
    expect(parseRouteEvent(message(payload, c.RTM_NEWLINK))).toBeNull();
  });

  test('but tells what the bridge keeps of it', () => {
    const { payload } = formatPortChange(3, { learning: true, neighSuppress: false, unicastFlood: true });
    expect(parseRouteEvent(message(payload, c.RTM_NEWLINK))).toMatchObject({
      object: 'port',
      index: 3,
      port: { learning: true, neighSuppress: false, unicastFlood: true },
    });
    expect(parseRouteEvent(message(payload, c.RTM_DELLINK))).toBeNull();
  });

  test('a route that took another’s place says so', () => {
    const replacing = { ...message(recorded.routes.onlink, c.RTM_NEWROUTE), flags: c.NLM_F_REPLACE };
    expect(parseRouteEvent(replacing)).toMatchObject({ object: 'route', replaces: true });
  });
});

describe('IPVS', () => {
  const family = { id: 30, version: 1 };
  const zero = { connections: 0n, inPackets: 0n, outPackets: 0n, inBytes: 0n, outBytes: 0n };
  const mark: VirtualServerKey = { kind: 'fwmark', family: 4, fwmark: 0x5e001f90 };
  const keys = {
    markService: mark,
    mark6Service: { kind: 'fwmark', family: 6, fwmark: 0x5e001f90 },
    tcpService: { kind: 'address', protocol: 'tcp', address: ip('10.0.1.2'), port: 80 },
    udp6Service: { kind: 'address', protocol: 'udp', address: ip('fd00:1::2'), port: 53 },
  } as const satisfies Record<string, VirtualServerKey>;

  test('the family', () => {
    const parsed = parseFamily(message(recorded.ipvs.family));
    expect(parsed.version).toBe(1);
    expect(parsed.id).toBeGreaterThan(0x10);
  });

  test.each(Object.keys(keys) as (keyof typeof keys)[])('%s', (name) => {
    const parsed = present(parseVirtualServer(message(recorded.ipvs[name])));
    expect(parsed).toEqual({
      key: keys[name],
      scheduler: 'rr',
      persistenceS: null,
      onePacket: name === 'udp6Service',
      fallback: false,
      stats: zero,
    });
    const request = formatVirtualServer(family, c.IPVS_CMD_NEW_SERVICE, parsed);
    expect(parseVirtualServer(message(request.payload))).toEqual(parsed);
  });

  test('persistence and fallback', () => {
    const server = { key: mark, scheduler: 'mh', persistenceS: 300, onePacket: false, fallback: true };
    const { payload } = formatVirtualServer(family, c.IPVS_CMD_SET_SERVICE, server);
    expect(parseVirtualServer(message(payload))).toEqual({ ...server, stats: zero });
  });

  test.each([
    [
      'directRouteDestination',
      {
        address: '10.0.1.4',
        port: 0,
        forwarding: 'directRoute',
        weight: 3,
        upperThreshold: 100,
        lowerThreshold: 50,
      },
    ],
    ['masqueradeDestination', { address: '10.0.1.3', port: 8080, forwarding: 'masquerade', weight: 0 }],
  ] as const)('%s', (name, expected) => {
    const parsed = parseRealServer(message(recorded.ipvs[name]), 4);
    expect(parsed).toMatchObject({ ...expected, activeConnections: 0, stats: zero });
    const request = formatRealServer(family, c.IPVS_CMD_NEW_DEST, mark, parsed);
    expect(parseRealServer(message(request.payload), 4)).toEqual(parsed);
  });

  test('a removal names the destination and nothing else', () => {
    const { payload } = formatRealServer(family, c.IPVS_CMD_DEL_DEST, mark, {
      address: ip('10.0.1.3'),
      port: 8080,
    });
    const dest = new Attributes(payload.subarray(4)).nested(c.IPVS_CMD_ATTR_DEST);
    expect(dest?.types()).toEqual([
      c.IPVS_DEST_ATTR_ADDR,
      c.IPVS_DEST_ATTR_PORT,
      c.IPVS_DEST_ATTR_ADDR_FAMILY,
    ]);
  });

  test('timeouts', () => {
    expect(parseTimeouts(message(recorded.ipvs.config))).toEqual({ tcpS: 900, tcpFinS: 120, udpS: 300 });
  });
});
