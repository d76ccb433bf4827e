/**
 * Runs inside a Linux 6.1 kernel that has IPVS (netlink-guest.test.ts boots one): works through our codec in a namespace
 * and prints what `ipvsadm` and `ip` say beside what we read, as lines of `@@JSON`.
 */
import { execFileSync } from 'node:child_process';
import type { Cidr, Ip, Mac } from '../../src/model/addresses.js';
import { native } from '../../src/runtime/native.js';
import { AttributeWriter } from '../../src/dataplane/netlink/attributes.js';
import * as c from '../../src/dataplane/netlink/constants.js';
import { formatGeneric, resolveFamily } from '../../src/dataplane/netlink/genl.js';
import type {
  NewRealServer,
  RealServer,
  VirtualServer,
  VirtualServerKey,
} from '../../src/dataplane/netlink/ipvs.js';
import { Ipvs } from '../../src/dataplane/netlink/ipvs.js';
import type { LinkAddress } from '../../src/dataplane/netlink/addresses.js';
import type { Link } from '../../src/dataplane/netlink/links.js';
import type { FdbEntry, Neighbour } from '../../src/dataplane/netlink/neighbours.js';
import { RouteNetlink } from '../../src/dataplane/netlink/route.js';
import type { Route } from '../../src/dataplane/netlink/routes.js';
import type { Rule } from '../../src/dataplane/netlink/rules.js';
import { NetlinkSocket } from '../../src/dataplane/netlink/socket.js';

const netns = '/run/netns/scenario';
const ip = (text: string): Ip => text as Ip;

/** One look at the tables. */
export interface Look {
  readonly step: string;
  /** `ipvsadm -Sn` : one line per virtual and real server. */
  readonly ipvsadm: readonly string[];
  /** `ipvsadm -Ln --thresholds`, which the save format leaves out. */
  readonly thresholds: string;
  readonly ours: readonly { readonly server: VirtualServer; readonly reals: readonly RealServer[] }[];
}
export interface Result {
  readonly route: RouteTables;
  readonly looks: readonly Look[];
  readonly host: readonly VirtualServer[];
  readonly refusals: Readonly<Record<string, string>>;
  readonly timeouts: { readonly ipvsadm: string; readonly ours: unknown };
  /** Messages as the kernel sent them, for the codec's unit tests. */
  readonly recorded: Readonly<Record<string, readonly string[]>>;
}

/** The rtnetlink objects as read here, where the kernel is older than the one the other tests run on. */
export interface RouteTables {
  readonly links: readonly Link[];
  readonly addresses: readonly LinkAddress[];
  readonly neighbours: readonly Neighbour[];
  readonly fdb: readonly FdbEntry[];
  readonly routes: readonly Route[];
  readonly ownTable: readonly Route[];
  readonly absentTable: readonly Route[];
  readonly rules: readonly Rule[];
}

const print = (value: unknown): void => {
  const text = JSON.stringify(value, (_, v: unknown) => (typeof v === 'bigint' ? Number(v) : v));
  // The console's lines are limited; the reader joins the pieces.
  for (let i = 0; i < text.length; i += 1000) process.stdout.write(`@@${text.slice(i, i + 1000)}\n`);
};

const inside = (...command: string[]): string =>
  execFileSync('nsenter', [`--net=${netns}`, ...command], { encoding: 'utf8' });

async function main(): Promise<void> {
  native().createNetns(netns);
  inside('ip', 'link', 'set', 'lo', 'up');
  const route = await routeTables();
  using ipvs = await Ipvs.open(netns);
  using host = await Ipvs.open(null);
  const looks: Look[] = [];
  const look = async (step: string): Promise<void> => {
    console.error(step); // in the console's text when a later step fails
    const servers = await ipvs.listVirtualServers();
    const ours = [];
    for (const server of servers) ours.push({ server, reals: await ipvs.listRealServers(server.key) });
    looks.push({
      step,
      ipvsadm: inside('ipvsadm', '-Sn').trim().split('\n').filter(Boolean),
      thresholds: inside('ipvsadm', '-Ln', '--thresholds'),
      ours,
    });
  };
  const refusals: Record<string, string> = {};
  const refused = async (name: string, promise: Promise<unknown>): Promise<void> => {
    refusals[name] = await promise.then(
      () => 'accepted',
      (err: unknown) => (err as { code: string }).code,
    );
  };

  const mark: VirtualServerKey = { kind: 'fwmark', family: 4, fwmark: 0x5e001f90 };
  const mark6: VirtualServerKey = { kind: 'fwmark', family: 6, fwmark: 0x5e001f90 };
  const tcp: VirtualServerKey = { kind: 'address', protocol: 'tcp', address: ip('10.0.1.2'), port: 80 };
  const udp6: VirtualServerKey = { kind: 'address', protocol: 'udp', address: ip('fd00:1::2'), port: 53 };
  const nat: NewRealServer = { address: ip('10.0.1.3'), port: 8080, forwarding: 'masquerade', weight: 1 };
  const direct: NewRealServer = { address: ip('10.0.1.4'), port: 0, forwarding: 'directRoute', weight: 3 };

  await look('empty');
  await ipvs.addVirtualServer({ key: mark, scheduler: 'rr' });
  await ipvs.addRealServer(mark, nat);
  await ipvs.addRealServer(mark, { ...direct, upperThreshold: 100, lowerThreshold: 50 });
  await look('a fwmark service with a NAT and a direct routing destination');
  await refused('same service', ipvs.addVirtualServer({ key: mark, scheduler: 'rr' }));
  await refused('same destination', ipvs.addRealServer(mark, nat));
  await refused('unknown scheduler', ipvs.addVirtualServer({ key: mark6, scheduler: 'nosuch' }));
  await refused('absent service', ipvs.addRealServer(tcp, nat));
  await refused('absent destination', ipvs.changeRealServer(mark, { ...nat, port: 1 }));

  await ipvs.changeRealServer(mark, { ...nat, weight: 0 });
  await ipvs.changeVirtualServer({ key: mark, scheduler: 'wrr', persistenceS: 300 });
  await look('drained, another scheduler, persistent');
  await ipvs.changeVirtualServer({ key: mark, scheduler: 'mh', fallback: true });
  await look('by the client, passing over the drained');
  await ipvs.changeVirtualServer({ key: mark, scheduler: 'rr' });
  await ipvs.addVirtualServer({ key: mark6, scheduler: 'rr' });
  await ipvs.addRealServer(mark6, { ...nat, address: ip('fd00:1::3') });
  await ipvs.addVirtualServer({ key: tcp, scheduler: 'rr' });
  await ipvs.addRealServer(tcp, { ...direct, port: 80 });
  await ipvs.addVirtualServer({ key: udp6, scheduler: 'rr', onePacket: true });
  await ipvs.addRealServer(udp6, { ...nat, address: ip('fd00:1::4'), port: 53 });
  await look('both families, by mark and by address');
  const recorded = await record(mark);

  await ipvs.removeRealServer(mark, nat);
  await ipvs.removeVirtualServer(tcp);
  await look('removed one destination and one service');
  await refused('list of an absent service', ipvs.listRealServers(tcp));
  await ipvs.setTimeouts({ tcpS: 7200, udpS: 60 });
  const timeouts = { ipvsadm: inside('ipvsadm', '-Ln', '--timeout').trim(), ours: await ipvs.timeouts() };
  await ipvs.flush();
  await look('flushed');
  print({
    route,
    looks,
    host: await host.listVirtualServers(),
    refusals,
    timeouts,
    recorded,
  } satisfies Result);
}

async function routeTables(): Promise<RouteTables> {
  using nl = new RouteNetlink(netns);
  const bridge = { name: 'br0', kind: 'bridge', mac: '02:00:00:00:00:01' as Mac, up: true } as const;
  await nl.links.add(bridge);
  const index = (await nl.links.find('br0'))?.index ?? 0;
  await nl.links.add({ name: 'vxlan0', kind: 'vxlan', vni: 4097, port: 4789, master: index, up: true });
  const vxlan = (await nl.links.find('vxlan0'))?.index ?? 0;
  await nl.links.changePort(vxlan, { learning: false, neighSuppress: true });
  await nl.links.add({ name: 'skp1', kind: 'veth', master: index, peer: { name: 'skc1' } });
  await nl.addresses.add({ index, address: ip('10.0.1.2'), prefixLength: 24 });
  await nl.addresses.add({ index, address: ip('fd00:1::2'), prefixLength: 64, noDad: true });
  const mac = '02:42:00:00:00:07' as Mac;
  await nl.neighbours.replace({ index, address: ip('10.0.1.7'), mac, protocol: 94 });
  await nl.fdb.replace({ index: vxlan, mac, table: 'self', dst: ip('192.0.2.2') });
  await nl.fdb.replace({ index: vxlan, mac, table: 'master' });
  const destination = '240.0.1.5/32' as Cidr;
  await nl.routes.add({
    destination,
    gateway: ip('172.30.0.5'),
    outIndex: index,
    onlink: true,
    protocol: 94,
  });
  await nl.routes.add({ destination: '::/0' as Cidr, gateway: ip('fd00:1::1'), table: 24100, protocol: 94 });
  await nl.rules.add({ family: 4, priority: 5, source: '240.1.0.0/18' as Cidr, table: 24100, protocol: 94 });
  return {
    links: await nl.links.list(),
    addresses: await nl.addresses.list({ index }),
    neighbours: await nl.neighbours.list({ index }),
    fdb: await nl.fdb.list({ index: vxlan }),
    routes: await nl.routes.list({ protocol: 94 }),
    ownTable: await nl.routes.list({ table: 24100, family: 6 }),
    absentTable: await nl.routes.list({ table: 4711, family: 4 }),
    rules: await nl.rules.list(),
  };
}

/** The kernel's own bytes of each kind of answer. */
async function record(key: VirtualServerKey & { kind: 'fwmark' }): Promise<Result['recorded']> {
  using socket = new NetlinkSocket(netns, c.NETLINK_GENERIC);
  const family = await resolveFamily(socket, 'IPVS');
  const hex = (messages: readonly { payload: Buffer }[]): string[] =>
    messages.map((m) => m.payload.toString('hex'));
  const service = new AttributeWriter().nested(c.IPVS_CMD_ATTR_SERVICE, (inner) =>
    inner.u16(c.IPVS_SVC_ATTR_AF, c.AF_INET).u32(c.IPVS_SVC_ATTR_FWMARK, key.fwmark),
  );
  const get = (command: number, attributes = new AttributeWriter()) =>
    formatGeneric(family, command, 0, attributes);
  const name = new AttributeWriter().string(c.CTRL_ATTR_FAMILY_NAME, 'IPVS');
  return {
    family: hex(
      await socket.request(formatGeneric({ id: c.GENL_ID_CTRL, version: 1 }, c.CTRL_CMD_GETFAMILY, 0, name)),
    ),
    services: hex(await socket.dump(get(c.IPVS_CMD_GET_SERVICE))),
    destinations: hex(await socket.dump(get(c.IPVS_CMD_GET_DEST, service))),
    config: hex(await socket.request(get(c.IPVS_CMD_GET_CONFIG))),
  };
}

await main();
