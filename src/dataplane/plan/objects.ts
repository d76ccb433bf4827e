/**
 * The nouns of the dataplane: what one network namespace may hold for us, as values. A desired object names only the
 * attributes that it cares about; an observed one carries all of them. Two objects are the same thing when their
 * {@link identity} is equal, and nothing is to be done when the observed one {@link satisfies} the desired one.
 */
import type { Cidr, Family, Ip, Mac } from '../../model/addresses.js';
import { addressAndPort } from '../../model/addresses.js';
import type { Scheduler } from '../../model/balancing.js';
import type { Vni } from '../../model/ids.js';
import type { SecretBytes } from '../../model/secret-bytes.js';

/** rtnetlink protocol number of every route and rule of ours. */
export const routeProtocol = 94;
/** Routing tables of the kernel (linux/rtnetlink.h). */
export const mainTable = 254;
export const localTable = 255;

/** The namespace itself; the rest cannot exist without it. */
export interface Namespace {
  readonly kind: 'namespace';
}

export interface Sysctl {
  readonly kind: 'sysctl';
  /** Below /proc/sys, e.g. `net/ipv4/ip_forward`. */
  readonly path: string;
  readonly value: string;
  /** True: nothing is to be done where the parameter does not exist, as its module is not loaded. */
  readonly ifPresent?: true;
}

export const sysctl = (path: string, value: string): Sysctl => ({ kind: 'sysctl', path, value });

export interface VxlanAttributes {
  readonly vni: Vni;
  readonly port: number;
  readonly local: Ip;
  readonly learning: boolean;
}

/** How a bridge treats a port of it. */
export interface BridgePort {
  /** MACs seen on the port are remembered. */
  readonly learning: boolean;
  /** The bridge answers ARP itself for what would be flooded out of the port. */
  readonly neighSuppress: boolean;
  /** Frames for a MAC that stands nowhere are sent out of the port, too. */
  readonly unicastFlood: boolean;
}

export interface Link {
  readonly kind: 'link';
  readonly name: string;
  readonly type?: 'bridge' | 'vxlan' | 'veth' | 'other';
  readonly mac?: Mac;
  readonly mtu?: number;
  readonly up?: boolean;
  readonly master?: string;
  readonly vxlan?: VxlanAttributes;
  /** Flags as a port of a bridge. */
  readonly bridgePort?: BridgePort;
  /** The other end of a veth pair, made in the host namespace; only used when the pair is made. */
  readonly peer?: { readonly name: string; readonly mac: Mac; readonly mtu: number };
  /** The name of a pair's end in the host's namespace, which becomes this link; only used when this link is not there. */
  readonly end?: string;
}

export interface Address {
  readonly kind: 'address';
  readonly device: string;
  readonly address: Ip;
  readonly prefixLength: number;
  /** Only observed, and only in containers: the source of what leaves by the default route. */
  readonly wayOut?: true;
}

/** A forwarding entry: `vtep` null is the bridge's own (`master static`), else the VXLAN device's (`self dst`). */
export interface FdbEntry {
  readonly kind: 'fdb';
  readonly device: string;
  readonly mac: Mac;
  readonly vtep: Ip | null;
}

/** A permanent neighbour entry. */
export interface Neighbour {
  readonly kind: 'neighbour';
  readonly device: string;
  readonly address: Ip;
  readonly mac: Mac;
}

/** A route of protocol {@link routeProtocol}: others are never observed. */
export interface Route {
  readonly kind: 'route';
  readonly table: number;
  readonly type: 'unicast' | 'local';
  readonly destination: Cidr;
  readonly device: string;
  /** Null: link scope. The gateway counts as reachable on the device (onlink). */
  readonly via: Ip | null;
  readonly source: Ip | null;
}

export interface Rule {
  readonly kind: 'rule';
  /** Of the packets that it is asked about, which it need not name an address of. */
  readonly family: Family;
  readonly priority: number;
  readonly table: number;
  readonly from: Cidr | null;
  readonly to: Cidr | null;
  readonly iif: string | null;
  /** Absent: packets of any mark. */
  readonly mark?: number;
  /** {@link routeProtocol} for ours; the kernel's own are 2. */
  readonly protocol: number;
}

/** An ipset with skbinfo: element -> packet mark. */
export interface IpSet {
  readonly kind: 'ipset';
  readonly name: string;
  /** Of its elements' addresses; absent where they have none (`bitmap:port`). */
  readonly family?: Family;
  readonly type: 'hash:ip' | 'hash:net,port' | 'bitmap:port';
}

export interface IpSetEntry {
  readonly kind: 'ipsetEntry';
  readonly set: string;
  readonly element: string;
  readonly mark: number;
}

export type FirewallTable = 'filter' | 'mangle' | 'nat' | 'raw';

/** A chain of ours; the rules are in the words of `iptables-save`, without `-A CHAIN`. */
export interface Chain {
  readonly kind: 'chain';
  readonly family: Family;
  readonly table: FirewallTable;
  readonly name: string;
  /** Absent: the chain must exist and its contents belong to the administrator. */
  readonly rules?: readonly string[];
}

/** A jump from a built-in chain to one of ours, ahead of everybody else's rules but two jumps of the engine's. */
export interface Jump {
  readonly kind: 'jump';
  readonly family: Family;
  readonly table: FirewallTable;
  readonly chain: string;
  readonly target: string;
  /** True when it stands there once, and before it only jumps of ours and those the engine keeps in front. */
  readonly first: boolean;
}

/** What clients call: a port that every node answers on, or a VIP with all of its ports. */
export type Frontend =
  | {
      readonly kind: 'port';
      readonly protocol: 'tcp' | 'udp' | 'sctp';
      readonly port: number;
      /** Which of a request must be as a {@link Listener} of the port says. Absent: it listens everywhere. */
      readonly limitedBy?: 'device' | 'address' | 'both';
    }
  | { readonly kind: 'vip'; readonly address: Ip };

/** What is balanced, named by family and mark: unique in its scope. */
export interface VirtualServer {
  readonly kind: 'virtualServer';
  /** Of the calls; of a VIP and of all of its real servers. */
  readonly family: Family;
  readonly mark: number;
  /** Absent where packets bear the mark and no frontend need be known (`ipvs`). */
  readonly frontend?: Frontend;
  readonly scheduler: Scheduler;
  /** Seconds that a client stays with its real server; null: each flow is balanced anew. */
  readonly affinityS: number | null;
}

/** One backend of a virtual server. */
export interface RealServer {
  readonly kind: 'realServer';
  readonly mark: number;
  /** A published port's: the task's alias; a VIP's: the task's own. */
  readonly address: Ip;
  /** 0 with direct routing of all ports. */
  readonly port: number;
  /** `direct` rewrites the destination MAC only, `translate` the destination address and port. */
  readonly method: 'direct' | 'translate';
  /** 0: draining. Established flows stay, new ones go elsewhere. */
  readonly weight: number;
  /** The task's on its overlay; absent where the kernel resolves it (`ipvs`). */
  readonly mac?: Mac;
}

/**
 * A published port that the host's kernel gives to no program of its own by chance: the answers to what that program asks of
 * others would be taken for requests.
 */
export interface ReservedPort {
  readonly kind: 'reservedPort';
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly port: number;
}

/** How long IPVS remembers an idle flow of this namespace, in seconds. `ipvs` only; there is always one to be read. */
export interface IpvsTimeouts {
  readonly kind: 'ipvsTimeouts';
  /** Established TCP. */
  readonly tcpS: number;
  /** TCP of which one side has said FIN. */
  readonly tcpFinS: number;
  readonly udpS: number;
}

/** A program of ours on one side of a device (cls_bpf, direct action). `ebpf` only, as all that follows. */
export interface Filter {
  readonly kind: 'filter';
  readonly device: string;
  readonly hook: 'ingress' | 'egress';
  /** Its name in the object file, e.g. `skep_uplink`. */
  readonly program: string;
  /** The kernel's digest of the program's instructions, 16 hex digits: tells an older program of that name. */
  readonly tag: string;
  /** What the program reads as the packet's class, 16 bits: vniClass of the VNI on ports of overlays, 0 elsewhere. */
  readonly classId: number;
}

/** An address of the host on which published ports answer. */
export interface LocalAddress {
  readonly kind: 'localAddress';
  readonly address: Ip;
}

/** Where a published port that is limited listens: one of these must fit a request. */
export interface Listener {
  readonly kind: 'listener';
  /** Of the port's virtual server. */
  readonly mark: number;
  /** By which requests come in, `lo` for the host's own; null: not looked at. */
  readonly device: string | null;
  /** The one that is called, {@link anyLoopbackAddress} for all of the loopback network; null: not looked at. */
  readonly address: Ip | null;
}
export const anyLoopbackAddress = '127.0.0.0' as Ip;

/** Where replies from the aliases of one node go. */
export interface AliasNode {
  readonly kind: 'aliasNode';
  /** The node's part in its aliases: host part of its address on ingress. */
  readonly part: number;
  /** Of its {@link hostLinkName | sk-ingress}. */
  readonly mac: Mac;
}

/** What the programs must know of this node's place on ingress. */
export interface Mesh {
  readonly kind: 'mesh';
  readonly ownAddress: Ip;
  readonly ownMac: Mac;
  /** The host's end of the pair to ingress. */
  readonly device: string;
  /** Of that device, in bytes. */
  readonly mtu: number;
  readonly aliasRange: Cidr;
  /** Requests pass the host's FORWARD chain, because the administrator has rules there. */
  readonly throughChains: boolean;
}

/** Where one node's ESP packets to another are made, or read: one key, one direction. In the host's namespace. */
export interface EspState {
  readonly kind: 'espState';
  readonly source: Ip;
  readonly destination: Ip;
  /** What the receiver finds the state by. */
  readonly spi: number;
  /** Of ours, see names.ts: what {@link EspPolicy} asks for. */
  readonly reqid: number;
  /** Only desired: keys are never read back. */
  readonly keyAndSalt?: SecretBytes;
  /** Only observed: packets sent by it. */
  readonly sent?: number;
}

/** What becomes of UDP to the port of encrypted overlays. */
export interface EspPolicy {
  readonly kind: 'espPolicy';
  readonly direction: 'in' | 'out';
  /** Null: any. */
  readonly source: Ip | null;
  readonly destination: Ip | null;
  readonly port: number;
  readonly priority: number;
  /** Only by ESP, with a state of that reqid; or not at all. */
  readonly action: { readonly kind: 'protect'; readonly reqid: number } | { readonly kind: 'block' };
}

export type KernelObject =
  | Namespace
  | Sysctl
  | ReservedPort
  | Link
  | Address
  | FdbEntry
  | Neighbour
  | Route
  | Rule
  | IpSet
  | IpSetEntry
  | Chain
  | Jump
  | VirtualServer
  | RealServer
  | IpvsTimeouts
  | Filter
  | LocalAddress
  | Listener
  | AliasNode
  | Mesh
  | EspState
  | EspPolicy;

export type ObjectKind = KernelObject['kind'];

/** What makes an object itself: the key the kernel finds it by. */
export function identity(object: KernelObject): string {
  switch (object.kind) {
    case 'namespace':
      return 'namespace';
    case 'sysctl':
      return `sysctl ${object.path}`;
    case 'link':
      return `link ${object.name}`;
    case 'address':
      return `address ${object.device} ${object.address}/${object.prefixLength}`;
    case 'fdb':
      return `fdb ${object.device} ${object.mac} ${object.vtep === null ? 'master' : 'self'}`;
    case 'neighbour':
      return `neighbour ${object.device} ${object.address}`;
    case 'route':
      return `route ${tableName(object.table)} ${object.destination}`;
    case 'rule': {
      const { family, priority, from, to, iif, mark, table } = object;
      return `rule ${priority}${familyName(family)}${from ? ` from ${from}` : ''}${to ? ` to ${to}` : ''}${iif ? ` iif ${iif}` : ''}${mark === undefined ? '' : ` mark ${markName(mark)}`} lookup ${tableName(table)}`;
    }
    case 'ipset':
      return `ipset ${object.name}`;
    case 'ipsetEntry':
      return `ipset-entry ${object.set} ${object.element}`;
    case 'chain':
      return `chain ${object.table} ${object.name}${familyName(object.family)}`;
    case 'jump':
      return `jump ${object.table} ${object.chain} ${object.target}${familyName(object.family)}`;
    case 'reservedPort':
      return `reserved-port ${object.protocol}/${object.port}`;
    case 'virtualServer':
      return `virtual-server ${markName(object.mark)}${familyName(object.family)}`;
    case 'realServer':
      return `real-server ${markName(object.mark)} ${addressAndPort(object.address, object.port)}`;
    case 'ipvsTimeouts':
      return 'ipvs-timeouts';
    case 'filter':
      return `filter ${object.device} ${object.hook}`;
    case 'localAddress':
      return `local-address ${object.address}`;
    case 'listener':
      return `listener ${markName(object.mark)} dev ${object.device ?? 'any'} address ${object.address ?? 'any'}`;
    case 'aliasNode':
      return `alias-node ${object.part}`;
    case 'mesh':
      return 'mesh';
    case 'espState':
      return `esp-state ${object.destination} spi ${markName(object.spi)}`;
    case 'espPolicy':
      return `esp-policy ${object.direction} from ${object.source ?? 'any'} to ${object.destination ?? 'any'} udp ${object.port}`;
  }
}

/** Identity and attributes in one readable line, for logs and `skep verify`. */
export function line(object: KernelObject): string {
  const details = describe(object);
  return details === '' ? identity(object) : `${identity(object)} ${details}`;
}

function describe(object: KernelObject): string {
  switch (object.kind) {
    case 'sysctl':
      return `= ${object.value}`;
    case 'link': {
      const { type, vxlan, mac, mtu, up, master, bridgePort } = object;
      return [
        type,
        vxlan && `vni ${vxlan.vni} port ${vxlan.port} local ${vxlan.local}`,
        mac,
        mtu !== undefined && `mtu ${mtu}`,
        master !== undefined && `master ${master}`,
        bridgePort &&
          `learning ${bridgePort.learning} neigh-suppress ${bridgePort.neighSuppress} flood ${bridgePort.unicastFlood}`,
        up !== undefined && (up ? 'up' : 'down'),
      ]
        .filter(Boolean)
        .join(' ');
    }
    case 'fdb':
      return object.vtep === null ? '' : `dst ${object.vtep}`;
    case 'neighbour':
      return object.mac;
    case 'route':
      return `${object.type === 'local' ? 'local ' : ''}${object.via ? `via ${object.via} ` : ''}dev ${object.device}${object.source ? ` src ${object.source}` : ''}`;
    case 'ipset':
      return `${object.type}${familyName(object.family)}`;
    case 'ipsetEntry':
      return markName(object.mark);
    case 'chain':
      return object.rules ? `[${object.rules.join('; ')}]` : '';
    case 'jump':
      return object.first ? 'first' : 'not first';
    case 'virtualServer': {
      const { frontend, scheduler, affinityS } = object;
      return [
        frontend?.kind === 'port' && `${frontend.protocol} ${frontend.port}`,
        frontend?.kind === 'port' && frontend.limitedBy && `limited by ${frontend.limitedBy}`,
        frontend?.kind === 'vip' && frontend.address,
        scheduler,
        affinityS !== null && `affinity ${affinityS} s`,
      ]
        .filter(Boolean)
        .join(' ');
    }
    case 'realServer':
      return `${object.method} weight ${object.weight}${object.mac ? ` ${object.mac}` : ''}`;
    case 'ipvsTimeouts':
      return `tcp ${object.tcpS} s, after FIN ${object.tcpFinS} s, udp ${object.udpS} s`;
    case 'filter':
      return `${object.program} ${object.tag}${object.classId === 0 ? '' : ` class ${object.classId}`}`;
    case 'aliasNode':
      return object.mac;
    case 'mesh': {
      const { ownAddress, ownMac, device, mtu, aliasRange, throughChains } = object;
      return `${aliasRange} own ${ownAddress} ${ownMac} dev ${device} mtu ${mtu}${throughChains ? ' through chains' : ''}`;
    }
    case 'espState':
      return `from ${object.source} reqid ${markName(object.reqid)}`;
    case 'espPolicy': {
      const { action, priority } = object;
      return `${action.kind}${action.kind === 'protect' ? ` reqid ${markName(action.reqid)}` : ''} priority ${priority}`;
    }
    case 'namespace':
    case 'address':
    case 'rule':
    case 'reservedPort':
    case 'localAddress':
    case 'listener':
      return '';
  }
}

/** How an object is made, and when. */
const notCompared = new Set(['peer', 'end', 'ifPresent', 'keyAndSalt']);

/** True when `observed` has every attribute that `desired` names. */
export function satisfies(observed: KernelObject, desired: KernelObject): boolean {
  const have = observed as unknown as Record<string, unknown>;
  return Object.entries(desired).every(([name, value]) => notCompared.has(name) || equal(have[name], value));
}

/** Attributes that the kernel cannot change in place: the object must be made anew. */
export const mustBeRemade = (observed: KernelObject, desired: KernelObject): boolean =>
  (observed.kind === 'link' &&
    desired.kind === 'link' &&
    ((desired.type !== undefined && observed.type !== desired.type) ||
      (desired.vxlan !== undefined && !equal(observed.vxlan, desired.vxlan)))) ||
  (observed.kind === 'ipset' &&
    desired.kind === 'ipset' &&
    (observed.type !== desired.type || !equal(observed.family, desired.family))) ||
  (observed.kind === 'rule' && desired.kind === 'rule') ||
  (observed.kind === 'espState' && desired.kind === 'espState');

/** Equality of plain values: JSON-like, key order aside. */
function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const [x, y] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = Object.keys(x);
  return keys.length === Object.keys(y).length && keys.every((key) => equal(x[key], y[key]));
}

/** Behind the name of what is there for each family apart; what bears no word is IPv4's. */
const familyName = (family: Family = 4): string => (family === 4 ? '' : ` ipv${family}`);

const tableName = (table: number): string => {
  if (table === mainTable) return 'main';
  if (table === localTable) return 'local';
  return table > 0xffff ? markName(table) : String(table);
};

export const isBalancerSysctl = (path: string): boolean => path.startsWith('net/ipv4/vs/');

/** Marks are read in hex everywhere else, too. */
export const markName = (mark: number): string => `0x${mark.toString(16).padStart(8, '0')}`;
