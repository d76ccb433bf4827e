/** Every object of the netlink layer, written by us and read back by iproute2, and the other way round. */
import { closeSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Cidr, Ip, Mac } from '../../src/model/addresses.js';
import { native } from '../../src/runtime/native.js';
import { isErrno, NetlinkError } from '../../src/dataplane/netlink/netlink-error.js';
import type { RouteEvent } from '../../src/dataplane/netlink/route.js';
import { RouteNetlink, subscribeRoute } from '../../src/dataplane/netlink/route.js';
import type { Link } from '../../src/dataplane/netlink/links.js';
import { TestNetns } from '../support/netns.js';

const ip = (text: string): Ip => text as Ip;
const cidr = (text: string): Cidr => text as Cidr;
const mac = (text: string): Mac => text as Mac;
const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

async function present(link: Promise<Link | null>): Promise<Link> {
  const found = await link;
  if (!found) throw new Error('the link is missing');
  return found;
}

describe('links', () => {
  test('an overlay: bridge, vxlan made in one namespace and moved to another, veth port', async () => {
    await using host = TestNetns.create();
    await using overlay = TestNetns.create();
    using hostLinks = new RouteNetlink(host.path);
    using inner = new RouteNetlink(overlay.path);
    const overlayFd = native().openNetns(overlay.path);
    try {
      await inner.links.add({
        name: 'br0',
        kind: 'bridge',
        mac: mac('02:00:00:00:00:01'),
        mtu: 1450,
        up: true,
      });
      await hostLinks.links.add({
        name: 'tmpvx',
        kind: 'vxlan',
        vni: 4097,
        port: 4789,
        learning: false,
        local: ip('192.0.2.1'),
      });
      const made = await present(hostLinks.links.find('tmpvx'));
      await hostLinks.links.change(made.index, { netnsFd: overlayFd, name: 'vxlan0' });
      await hostLinks.links.add({
        name: 'skc1',
        kind: 'veth',
        mac: mac('02:00:00:00:00:11'),
        mtu: 1450,
        peer: { name: 'skp1', mtu: 1450, netnsFd: overlayFd },
      });
    } finally {
      closeSync(overlayFd);
    }
    const bridge = await present(inner.links.find('br0'));
    const vxlan = await present(inner.links.find('vxlan0'));
    const port = await present(inner.links.find('skp1'));
    await inner.links.change(vxlan.index, { master: bridge.index, up: true });
    await inner.links.change(port.index, { master: bridge.index, up: true, alias: 'ours' });
    await inner.links.changePort(vxlan.index, { learning: false, neighSuppress: true });

    const rows = await overlay.ipJson<{
      ifname: string;
      mtu: number;
      address: string;
      master?: string;
      ifalias?: string;
      linkinfo?: {
        info_kind: string;
        info_data?: Record<string, unknown>;
        info_slave_data?: Record<string, unknown>;
      };
    }>('link show');
    const byName = new Map(rows.map((row) => [row.ifname, row]));
    expect(byName.get('br0')).toMatchObject({ mtu: 1450, address: '02:00:00:00:00:01' });
    expect(byName.get('vxlan0')).toMatchObject({
      master: 'br0',
      linkinfo: {
        info_kind: 'vxlan',
        info_data: { id: 4097, port: 4789, learning: false, local: '192.0.2.1' },
        info_slave_data: { learning: false, neigh_suppress: true },
      },
    });
    expect(byName.get('skp1')).toMatchObject({ master: 'br0', mtu: 1450, ifalias: 'ours' });

    const listed = await inner.links.list();
    expect(listed.find(({ name }) => name === 'vxlan0')).toMatchObject({
      kind: 'vxlan',
      up: true,
      master: bridge.index,
      vxlan: { vni: 4097, port: 4789, learning: false, local: '192.0.2.1', link: null },
      port: { learning: false, neighSuppress: true, hairpin: false },
    });
    expect(listed.find(({ name }) => name === 'br0')).toMatchObject({
      kind: 'bridge',
      mac: '02:00:00:00:00:01',
    });
    expect(listed.find(({ name }) => name === 'skp1')).toMatchObject({
      kind: 'veth',
      alias: 'ours',
      port: { learning: true, neighSuppress: false },
    });
    expect(listed.find(({ name }) => name === 'lo')).toMatchObject({ kind: null, loopback: true, up: false });

    await inner.links.change(port.index, { master: null });
    expect((await present(inner.links.find('skp1'))).master).toBeNull();
    await inner.links.remove(port.index);
    expect(await hostLinks.links.find('skc1')).toBeNull();
  });

  test('IPv6 underlay: the vxlan keeps its local address', async () => {
    await using netns = TestNetns.create();
    using nl = new RouteNetlink(netns.path);
    await nl.links.add({ name: 'vx6', kind: 'vxlan', vni: 7, port: 8472, local: ip('2001:db8::1') });
    expect((await present(nl.links.find('vx6'))).vxlan).toMatchObject({ local: '2001:db8::1', port: 8472 });
  });

  test('refusals carry errno and the kernel’s words', async () => {
    await using netns = TestNetns.create();
    using nl = new RouteNetlink(netns.path);
    await nl.links.add({ name: 'br0', kind: 'bridge' });
    await expect(nl.links.add({ name: 'br0', kind: 'bridge' })).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(nl.links.remove(4711)).rejects.toMatchObject({ code: 'ENODEV', retryable: false });
    await expect(
      nl.routes.add({ destination: cidr('10.9.0.0/16'), gateway: ip('10.1.1.1') }),
    ).rejects.toSatisfy(
      (err: unknown) =>
        err instanceof NetlinkError && err.code === 'ENETUNREACH' && (err.text ?? '').length > 0,
    );
    expect(() => new RouteNetlink('/run/netns/skeptest-absent')).toThrowError(
      expect.objectContaining({ code: 'ENOENT', syscall: 'open' }),
    );
  });
});

describe('tables', () => {
  /** A namespace with a bridge br0 (up) of 10.0.1.2/24 and fd00:1::2/64, and lo up. */
  async function bridged(netns: TestNetns, nl: RouteNetlink): Promise<Link> {
    const lo = await present(nl.links.find('lo'));
    await nl.links.change(lo.index, { up: true });
    await nl.links.add({ name: 'br0', kind: 'bridge', up: true });
    const bridge = await present(nl.links.find('br0'));
    await nl.addresses.add({ index: bridge.index, address: ip('10.0.1.2'), prefixLength: 24 });
    await nl.addresses.add({ index: bridge.index, address: ip('fd00:1::2'), prefixLength: 64, noDad: true });
    return bridge;
  }

  test('addresses', async () => {
    await using netns = TestNetns.create();
    using nl = new RouteNetlink(netns.path);
    const bridge = await bridged(netns, nl);
    await nl.addresses.replace({ index: bridge.index, address: ip('10.0.1.9'), prefixLength: 32 });
    const [row] = await netns.ipJson<{ addr_info: { local: string; prefixlen: number }[] }>('addr show br0');
    expect(row?.addr_info.map((a) => `${a.local}/${a.prefixlen}`)).toEqual(
      expect.arrayContaining(['10.0.1.2/24', '10.0.1.9/32', 'fd00:1::2/64']),
    );
    const listed = await nl.addresses.list({ index: bridge.index, family: 4 });
    expect(listed.map((a) => `${a.address}/${a.prefixLength}`).sort()).toEqual([
      '10.0.1.2/24',
      '10.0.1.9/32',
    ]);
    expect(listed.every((a) => a.permanent && a.scope === 0)).toBe(true);
    await nl.addresses.remove({ index: bridge.index, address: ip('10.0.1.9'), prefixLength: 32 });
    await expect(
      nl.addresses.remove({ index: bridge.index, address: ip('10.0.1.9'), prefixLength: 32 }),
    ).rejects.toMatchObject({ code: 'EADDRNOTAVAIL' });
    expect(await nl.addresses.list({ family: 4, index: bridge.index })).toHaveLength(1);
  });

  test('neighbours', async () => {
    await using netns = TestNetns.create();
    using nl = new RouteNetlink(netns.path);
    const { index } = await bridged(netns, nl);
    for (const address of [ip('10.0.1.7'), ip('fd00:1::7')]) {
      await nl.neighbours.replace({ index, address, mac: mac('02:42:00:00:00:07'), protocol: 94 });
      await nl.neighbours.replace({ index, address, mac: mac('02:42:00:00:00:08'), protocol: 94 });
    }
    const rows = await netns.ipJson<{ dst: string; lladdr: string; state: string[] }>(
      'neigh show nud permanent',
    );
    expect(rows.map(({ dst, lladdr, state }) => ({ dst, lladdr, state }))).toEqual(
      expect.arrayContaining([
        { dst: '10.0.1.7', lladdr: '02:42:00:00:00:08', state: ['PERMANENT'] },
        { dst: 'fd00:1::7', lladdr: '02:42:00:00:00:08', state: ['PERMANENT'] },
      ]),
    );
    const listed = (await nl.neighbours.list({ index })).filter(({ state }) => state === 'permanent');
    expect(listed).toHaveLength(2);
    expect(listed[0]).toEqual({
      index,
      address: '10.0.1.7',
      mac: '02:42:00:00:00:08',
      state: 'permanent',
      protocol: 94,
    });
    await nl.neighbours.remove({ index, address: ip('10.0.1.7') });
    await expect(nl.neighbours.remove({ index, address: ip('10.0.1.7') })).rejects.toSatisfy((err: unknown) =>
      isErrno(err, 'ENOENT'),
    );
  });

  test('forwarding entries of the vxlan and of its bridge', async () => {
    await using netns = TestNetns.create();
    using nl = new RouteNetlink(netns.path);
    const bridge = await bridged(netns, nl);
    await nl.links.add({
      name: 'vxlan0',
      kind: 'vxlan',
      vni: 4096,
      port: 4789,
      master: bridge.index,
      up: true,
    });
    const { index } = await present(nl.links.find('vxlan0'));
    const entry = { index, mac: mac('02:42:00:00:00:07') };
    await nl.fdb.replace({ ...entry, table: 'self', dst: ip('192.0.2.2') });
    await nl.fdb.replace({ ...entry, table: 'self', dst: ip('192.0.2.3') });
    await nl.fdb.replace({ ...entry, table: 'master' });
    const rows = (
      await netns.bridgeJson<{
        mac: string;
        dst?: string;
        flags: string[];
        state?: string;
        master?: string;
        vlan?: number;
      }>('fdb show dev vxlan0')
    ).filter((row) => row.mac === entry.mac && row.vlan === undefined); // a kernel with VLANs adds one for VLAN 1
    expect(rows).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ dst: '192.0.2.3', flags: ['self'], state: 'permanent' }),
        expect.objectContaining({ master: 'br0', state: 'static' }),
      ]),
    );
    expect(rows).toHaveLength(2);
    const listed = (await nl.fdb.list({ index })).filter((row) => row.mac === entry.mac);
    expect(listed).toEqual(
      expect.arrayContaining([
        { ...entry, table: 'self', state: 'permanent', dst: '192.0.2.3', bridge: null, vlan: null },
        { ...entry, table: 'master', state: 'static', dst: null, bridge: bridge.index, vlan: null },
      ]),
    );
    expect((await nl.fdb.list()).length).toBeGreaterThanOrEqual(listed.length);
    await nl.fdb.remove({ ...entry, table: 'self' });
    await nl.fdb.remove({ ...entry, table: 'master' });
    expect((await nl.fdb.list({ index })).filter((row) => row.mac === entry.mac)).toEqual([]);
    await expect(nl.fdb.remove({ ...entry, table: 'self' })).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('routes: table, onlink, local, source, protocol', async () => {
    await using netns = TestNetns.create();
    using nl = new RouteNetlink(netns.path);
    const { index } = await bridged(netns, nl);
    const lo = await present(nl.links.find('lo'));
    await nl.routes.add({
      destination: cidr('240.0.1.5/32'),
      gateway: ip('172.30.0.5'),
      outIndex: index,
      onlink: true,
      protocol: 94,
    });
    await nl.routes.add({
      destination: cidr('240.0.0.0/4'),
      type: 'local',
      outIndex: lo.index,
      table: 255,
      protocol: 94,
    });
    await nl.routes.add({
      destination: cidr('10.0.1.77/32'),
      outIndex: index,
      source: ip('10.0.1.2'),
      table: 24099,
      protocol: 94,
    });
    await nl.routes.replace({
      destination: cidr('0.0.0.0/0'),
      gateway: ip('10.0.1.1'),
      table: 24100,
      protocol: 94,
    });
    await nl.routes.add({ destination: cidr('::/0'), gateway: ip('fd00:1::1'), table: 24100, protocol: 94 });

    type Row = {
      dst: string;
      gateway?: string;
      dev: string;
      flags: string[];
      prefsrc?: string;
      protocol: string;
    };
    expect(await netns.ipJson<Row>('route show 240.0.1.5/32')).toMatchObject([
      { gateway: '172.30.0.5', dev: 'br0', flags: ['onlink'], protocol: '94' },
    ]);
    expect(await netns.ipJson<Row>('route show table local 240.0.0.0/4')).toMatchObject([
      { type: 'local', dst: '240.0.0.0/4', dev: 'lo', scope: 'host', protocol: '94' },
    ]);
    expect(await netns.ipJson<Row>('route show table 24099')).toMatchObject([
      { dst: '10.0.1.77', prefsrc: '10.0.1.2', scope: 'link' },
    ]);
    expect(await netns.ipJson<Row>('-6 route show table 24100')).toMatchObject([
      { dst: 'default', gateway: 'fd00:1::1' },
    ]);

    const ours = await nl.routes.list({ protocol: 94 });
    expect(ours).toHaveLength(5);
    expect(ours).toContainEqual({
      destination: '240.0.1.5/32',
      type: 'unicast',
      table: 254,
      protocol: 94,
      scope: 0,
      gateway: '172.30.0.5',
      outIndex: index,
      source: null,
      priority: 0,
      onlink: true,
    });
    expect(await nl.routes.list({ table: 24100, family: 4 })).toMatchObject([
      { destination: '0.0.0.0/0', gateway: '10.0.1.1', table: 24100 },
    ]);
    expect(await nl.routes.list({ table: 4711, family: 4 })).toEqual([]);
    for (const route of ours) await nl.routes.remove(route);
    expect(await nl.routes.list({ protocol: 94 })).toEqual([]);
    await expect(nl.routes.remove({ destination: cidr('240.0.1.5/32') })).rejects.toMatchObject({
      code: 'ESRCH',
    });
  });

  test('rules: source, incoming link, mark, table, goto', async () => {
    await using netns = TestNetns.create();
    using nl = new RouteNetlink(netns.path);
    await nl.rules.add({ family: 4, priority: 10, table: 255, protocol: 94 });
    await nl.rules.add({
      family: 4,
      priority: 5,
      inName: 'lo',
      destination: cidr('10.0.1.9/32'),
      table: 24099,
      protocol: 94,
    });
    await nl.rules.add({
      family: 4,
      priority: 7,
      source: cidr('240.1.0.0/18'),
      action: 'goto',
      target: 10,
      protocol: 94,
    });
    await nl.rules.add({
      family: 6,
      priority: 8,
      mark: { value: 0x5e000001, mask: 0xffffffff },
      table: 24100,
      protocol: 94,
    });
    await nl.rules.remove({ family: 4, priority: 0, table: 255 });
    const rows = await netns.ipJson<Record<string, unknown>>('rule show');
    expect(rows.find((row) => row['priority'] === 0)).toBeUndefined();
    expect(rows.find((row) => row['priority'] === 5)).toMatchObject({
      dst: '10.0.1.9',
      iif: 'lo',
      table: '24099',
    });
    expect(rows.find((row) => row['priority'] === 7)).toMatchObject({
      src: '240.1.0.0',
      srclen: 18,
      goto: 10,
    });
    const [six] = (await netns.ipJson<Record<string, unknown>>('-6 rule show')).filter(
      (row) => row['priority'] === 8,
    );
    expect(six).toMatchObject({ fwmark: '0x5e000001', table: '24100', protocol: '94' });

    const ours = (await nl.rules.list()).filter(({ protocol }) => protocol === 94);
    expect(ours).toHaveLength(4);
    expect(ours.find(({ priority }) => priority === 5)).toEqual({
      family: 4,
      priority: 5,
      action: 'lookup',
      table: 24099,
      target: null,
      source: null,
      destination: '10.0.1.9/32',
      inName: 'lo',
      outName: null,
      mark: null,
      protocol: 94,
      inverted: false,
    });
    await expect(nl.rules.add(ours[0]!)).rejects.toMatchObject({ code: 'EEXIST' });
    for (const rule of ours) await nl.rules.remove(rule);
    expect((await nl.rules.list()).filter(({ protocol }) => protocol === 94)).toEqual([]);
  });
});

describe('socket', () => {
  test('a dump larger than one datagram is whole, and concurrent requests keep their own answers', async () => {
    await using netns = TestNetns.create();
    using nl = new RouteNetlink(netns.path);
    await nl.links.add({ name: 'br0', kind: 'bridge', up: true });
    const { index } = await present(nl.links.find('br0'));
    const addresses = Array.from({ length: 1500 }, (_, i) => ip(`10.8.${i >> 8}.${i & 255}`));
    const writes = addresses.map((address) =>
      nl.neighbours.replace({ index, address, mac: mac('02:42:00:00:00:07') }),
    );
    const [, found, none] = await Promise.all([
      Promise.all(writes),
      nl.links.find('br0'),
      nl.links.find('nope'),
    ]);
    expect(found?.index).toBe(index);
    expect(none).toBeNull();
    const listed = await nl.neighbours.list({ index, family: 4 });
    const permanent = listed.filter(({ state }) => state === 'permanent').map(({ address }) => address);
    expect(permanent.sort()).toEqual(addresses.sort());
  });

  test('closing rejects what waits, later requests too, and leaves no descriptor', async () => {
    await using netns = TestNetns.create();
    native(); // loading opens files of its own
    const before = openDescriptors();
    const nl = new RouteNetlink(netns.path);
    const waiting = [nl.links.list(), nl.links.list()].map((promise) => promise.catch((err: unknown) => err));
    nl[Symbol.dispose]();
    nl[Symbol.dispose]();
    for (const err of await Promise.all(waiting)) expect(err).toMatchObject({ code: 'ECANCELED' });
    await expect(nl.links.list()).rejects.toMatchObject({ code: 'ECANCELED' });
    subscribeRoute(netns.path, ['link'], () => undefined)[Symbol.dispose]();
    expect(() => native().openNetlink(netns.path, 4711, [])).toThrowError(
      expect.objectContaining({ code: 'EPROTONOSUPPORT', syscall: 'socket' }),
    );
    expect(openDescriptors()).toBe(before);
  });

  test('notifications tell what others change', async () => {
    await using netns = TestNetns.create();
    const events: RouteEvent[] = [];
    let wake: () => void = () => undefined;
    using _subscription = subscribeRoute(
      netns.path,
      ['link', 'address', 'neighbour', 'route', 'rule'],
      (event) => {
        events.push(event);
        wake();
      },
    );
    /** Resolves with the first event, past or coming, that fits. */
    const seen = async (fits: (event: RouteEvent) => boolean): Promise<void> => {
      while (!events.some(fits)) await new Promise<void>((resolve) => (wake = resolve));
    };
    await netns.ip('link add br0 type bridge');
    await seen((e) => e.object === 'link' && !e.removed && e.link.name === 'br0' && e.link.kind === 'bridge');
    await netns.ip('link set br0 up');
    await netns.ip('addr add 10.0.1.2/24 dev br0');
    await seen((e) => e.object === 'address' && e.address.address === '10.0.1.2');
    await seen((e) => e.object === 'route' && e.route.destination === '10.0.1.0/24');
    await netns.ip('neigh add 10.0.1.3 lladdr 02:00:00:00:00:03 dev br0 nud permanent');
    await seen((e) => e.object === 'neighbour' && !e.removed && e.neighbour.address === '10.0.1.3');
    await netns.ip('rule add pref 77 lookup main');
    await seen((e) => e.object === 'rule' && e.rule.priority === 77);
    await netns.ip('link del br0');
    await seen((e) => e.object === 'link' && e.removed && e.link.name === 'br0');
  });
});

describe('namespaces', () => {
  test('sysctls are those of the namespace entered', async () => {
    await using netns = TestNetns.create();
    const path = '/proc/sys/net/ipv4/conf/all/arp_ignore';
    const host = readFileSync(path, 'utf8');
    const write = native().openInNetns(netns.path, path, 1);
    writeSync(write, '5');
    closeSync(write);
    expect((await netns.run('cat', path)).trim()).toBe('5');
    expect(readFileSync(path, 'utf8')).toBe(host);
  });

  test('made once, seen by ip, deleted twice', async () => {
    await using netns = TestNetns.create();
    expect(() => native().createNetns(netns.path)).toThrowError(expect.objectContaining({ code: 'EEXIST' }));
    expect(() => native().openNetns('/proc/self/status')).toThrowError(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    native().deleteNetns(netns.path);
    native().deleteNetns(netns.path);
    expect(() => native().openNetns(netns.path)).toThrowError(expect.objectContaining({ code: 'ENOENT' }));
  });
});
