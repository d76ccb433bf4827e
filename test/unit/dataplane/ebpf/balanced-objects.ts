/** Plan objects of the tests of the ebpf engine's table: tasks are numbers, and address and MAC follow from them. */
import type { BalancerObject } from '../../../../src/dataplane/balancer/engine.js';
import type { Mesh, RealServer, VirtualServer } from '../../../../src/dataplane/plan/objects.js';
import { markPrefix, publishedPortMark } from '../../../../src/dataplane/state.js';
import type { Scheduler } from '../../../../src/model/balancing.js';
import type { Cidr, Ip, Mac } from '../../../../src/model/addresses.js';

const octet = (value: number): string => (value & 255).toString(16).padStart(2, '0');
export const taskMac = (task: number): Mac =>
  `02:42:0a:${octet(task >> 16)}:${octet(task >> 8)}:${octet(task)}` as Mac;
export const alias = (task: number): Ip =>
  `240.${(task >> 16) & 255}.${(task >> 8) & 255}.${task & 255}` as Ip;

export const port = (
  number: number,
  scheduler: Scheduler = 'rr',
  affinityS: number | null = null,
): VirtualServer => ({
  kind: 'virtualServer',
  family: 4,
  mark: publishedPortMark('tcp', number),
  frontend: { kind: 'port', protocol: 'tcp', port: number },
  scheduler,
  affinityS,
});
export const realServer = (of: VirtualServer, task: number, weight = 1): RealServer => ({
  kind: 'realServer',
  mark: of.mark,
  address: alias(task),
  port: of.frontend?.kind === 'port' ? 8080 : 0,
  method: of.frontend?.kind === 'port' ? 'translate' : 'direct',
  weight,
  mac: taskMac(task),
});
export const vip = (part: number, scheduler: Scheduler = 'rr'): VirtualServer => ({
  kind: 'virtualServer',
  family: 4,
  mark: (markPrefix | part) >>> 0,
  frontend: { kind: 'vip', address: `10.0.${part >> 8}.${part & 255}` as Ip },
  scheduler,
  affinityS: null,
});
/** A virtual server with real servers of these tasks. */
export const balanced = (server: VirtualServer, ...tasks: number[]): BalancerObject[] => [
  server,
  ...tasks.map((task) => realServer(server, task)),
];
export const mesh: Mesh = {
  kind: 'mesh',
  ownAddress: '10.255.0.2' as Ip,
  ownMac: '02:42:0a:ff:00:02' as Mac,
  device: 'sk-ingress',
  mtu: 1450,
  aliasRange: '240.0.0.0/4' as Cidr,
  throughChains: false,
};
export const meshObjects: BalancerObject[] = [
  mesh,
  { kind: 'localAddress', address: '192.0.2.1' as Ip },
  { kind: 'localAddress', address: '172.17.0.1' as Ip },
  { kind: 'listener', mark: publishedPortMark('tcp', 80), device: 'sk-ingress', address: null },
  { kind: 'listener', mark: publishedPortMark('udp', 53), device: null, address: '192.0.2.1' as Ip },
  { kind: 'listener', mark: publishedPortMark('tcp', 81), device: 'sk-ingress', address: '127.0.0.0' as Ip },
  { kind: 'aliasNode', part: 2, mac: '02:42:0a:ff:00:02' as Mac },
  { kind: 'aliasNode', part: 16383, mac: '02:42:0a:ff:3f:ff' as Mac },
];
