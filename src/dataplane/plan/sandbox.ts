/**
 * Inside a container's namespace: what makes a task answer on its service's VIP and on its mesh aliases. The engine owns
 * the namespace; ours are the rules and routes of protocol 94, the VIPs on `lo` and a handful of sysctls.
 *
 * A task that calls its own service's VIP is balanced like any caller, although it holds the VIP itself: the rule for the
 * local table moves from 0 to {@link localRulePriority}, so that a rule for packets made here (`iif lo`) can send those
 * to the overlay first. Replies from an alias of this node go straight to it, those from another node's alias to
 * ingress's gateway, which knows the nodes: two rules, however large the cluster. Servers that do not answer from the
 * alias that they were asked on are helped by sandbox-mesh.ts. How names are asked is sandbox-names.ts.
 *
 * Everybody on an overlay of several subnets is on one link, whichever subnet they are in: the engine is told so when the container
 * joins (plugin/network-driver.ts), and a rule and routes of ours keep it so when those of the engine have gone with the interface.
 *
 * The interfaces are the engine's to set up, and nobody's to keep: it never looks again. So one that was set up once is
 * ours to put back, up and with its address, when somebody has taken it down or away. Before, all hands off: the engine
 * fails when it finds done what it is about to do.
 */
import type { Family, Ip } from '../../model/addresses.js';
import { addressBits, anyCidr, families, familyOf, hostCidr, parseCidr } from '../../model/addresses.js';
import { otherSubnets, subnetAround } from '../../model/network-subnets.js';
import type { SandboxEndpoint } from '../sandbox.js';
import { containerEndName } from '../sandbox.js';
import type { NodeNetworkState, Overlay } from '../state.js';
import { nodeAliasCidr } from '../state.js';
import type { Leg } from './leg.js';
import { serviceOf } from './leg.js';
import { overlayMtuBytes } from './mtu.js';
import {
  aliasRulePriority,
  aliasTable,
  isOurChain,
  localRulePriority,
  ownAliasRulePriority,
  ownAliasTable,
  subnetRulePriority,
  subnetTable,
  vipRulePriority,
  vipTable,
} from './names.js';
import type { KernelObject, Link, Rule } from './objects.js';
import { localTable, routeProtocol, sysctl } from './objects.js';
import { planNameservers } from './sandbox-dns.js';
import { planMeshReplies } from './sandbox-mesh.js';
import { planNames, planRate } from './sandbox-names.js';

/** The kernel's own rule for the local table, and ours that takes its place. */
const kernelLocalRule = (family: Family): Rule => rule(family, 0, localTable, {}, 2);
const movedLocalRule = (family: Family): Rule => rule(family, localRulePriority, localTable);
const isKernelLocalRule = ({ priority, table }: Rule): boolean => priority === 0 && table === localTable;

/**
 * All that is ours in one container's namespace.
 * @param endpoints the container's endpoints that we know of; those whose interface is not there yet are left out
 * @param observed what the namespace holds: the engine renames the links it moves in, so ours are found by MAC
 * @param namesAnswered names are answered inside the container, see Observation
 * @param joined see {@link joinedInterfaces}
 */
export function planSandbox(
  state: NodeNetworkState | null,
  endpoints: readonly SandboxEndpoint[],
  observed: readonly KernelObject[],
  namesAnswered = false,
  joined: ReadonlyMap<string, string> = new Map(),
): KernelObject[] {
  if (state === null) return localRules([], endpoints, observed);
  const legs = legsOf(state, endpoints, observed, joined);
  const interfaces = legs.flatMap((leg) => (joined.has(leg.endpoint.endpointId) ? planInterface(leg) : []));
  const planned = legs.flatMap((leg) =>
    leg.overlay.ingress
      ? [...planAliases(state, leg), ...planMeshReplies(state, leg, legs, observed)]
      : planOwnVip(leg),
  );
  // What the engine's own networks call each other only its resolver knows: where it must be asked, it is asked first.
  const throughEngine = planNameservers(legs);
  return [
    ...interfaces,
    ...planned,
    ...localRules(planned, endpoints, observed),
    ...(namesAnswered ? planRate(legs) : []),
    ...(throughEngine.length > 0 ? throughEngine : namesAnswered ? planNames(legs) : []),
  ];
}

/** A rule for the local table in each family of the container's legs, and where ours has taken the kernel's place before. */
function localRules(
  planned: readonly KernelObject[],
  endpoints: readonly SandboxEndpoint[],
  observed: readonly KernelObject[],
): Rule[] {
  const familiesOf = (objects: readonly KernelObject[]): Set<Family> =>
    new Set(
      objects.flatMap((object) =>
        object.kind === 'rule' && object.protocol === routeProtocol ? [object.family] : [],
      ),
    );
  const moved = familiesOf(planned);
  const used = new Set([...endpoints.map(({ address }) => familyOf(address)), ...familiesOf(observed)]);
  return families.flatMap((family) => {
    if (moved.has(family)) return [movedLocalRule(family)];
    return used.has(family) ? [kernelLocalRule(family)] : [];
  });
}

const deviceOf = ({ mac }: SandboxEndpoint, links: readonly Link[]): string | undefined =>
  links.find((link) => link.mac === mac)?.name;

/**
 * Names of the interfaces that the engine has set up, by endpoint id: those that are up with their address now, and those
 * that are known to have been.
 * @param before what this gave for the container when it was last looked at; undefined after a start of the daemon: then
 *   rules of ours tell that the engine was done, as they come after the interfaces and stay when those go
 */
export function joinedInterfaces(
  endpoints: readonly SandboxEndpoint[],
  observed: readonly KernelObject[],
  before: ReadonlyMap<string, string> | undefined,
): Map<string, string> {
  const links = observed.filter((object): object is Link => object.kind === 'link');
  const names = new Set(links.map(({ name }) => name));
  const programmed =
    before === undefined &&
    observed.some((object) => object.kind === 'rule' && object.protocol === routeProtocol);
  const joined = new Map<string, string>();
  for (const endpoint of endpoints) {
    const device = deviceOf(endpoint, links);
    const isUp = links.some(({ name, up }) => name === device && up);
    const hasAddress = observed.some(
      (object) =>
        object.kind === 'address' && object.device === device && object.address === endpoint.address,
    );
    const known = before?.get(endpoint.endpointId);
    if (known === undefined && !programmed && !(isUp && hasAddress)) continue;
    const name = device ?? (known !== undefined && !names.has(known) ? known : freeName(names));
    joined.set(endpoint.endpointId, name);
    names.add(name);
  }
  return joined;
}

/** The engine numbers a container's interfaces. */
function freeName(taken: ReadonlySet<string>): string {
  for (let number = 0; ; number++) if (!taken.has(`eth${number}`)) return `eth${number}`;
}

const planInterface = ({ overlay, endpoint, device }: Leg): KernelObject[] => {
  const own = subnetAround(overlay, endpoint.address)?.subnet ?? overlay.subnet;
  return [
    {
      kind: 'link',
      name: device,
      type: 'veth',
      mac: endpoint.mac,
      up: true,
      end: containerEndName(endpoint.endpointId),
    },
    { kind: 'address', device, address: endpoint.address, prefixLength: parseCidr(own).prefixLength },
    ...otherSubnets(overlay, endpoint.address).flatMap((subnet): KernelObject[] => [
      {
        kind: 'route',
        table: subnetTable,
        type: 'unicast',
        destination: subnet,
        device,
        via: null,
        source: endpoint.address,
      },
      rule(familyOf(subnet), subnetRulePriority, subnetTable, { to: subnet }),
    ]),
  ];
};

/**
 * MTU in bytes of the container's own ends of its legs, by name. The engine moves them as they were made; after that a change, on
 * the underlay or by hand, is ours to follow.
 */
export function planSandboxMtus(
  state: NodeNetworkState | null,
  endpoints: readonly SandboxEndpoint[],
  observed: readonly KernelObject[],
  underlayMtuBytes: number,
  joined: ReadonlyMap<string, string>,
): Map<string, number> {
  if (state === null) return new Map();
  return new Map(
    legsOf(state, endpoints, observed, joined).map(({ overlay, device }) => [
      device,
      overlayMtuBytes(state, overlay, underlayMtuBytes),
    ]),
  );
}

/** Those endpoints whose overlay is known and whose interface is inside, or was. */
function legsOf(
  state: NodeNetworkState,
  endpoints: readonly SandboxEndpoint[],
  observed: readonly KernelObject[],
  joined: ReadonlyMap<string, string>,
): Leg[] {
  const links = observed.filter((object): object is Link => object.kind === 'link');
  return endpoints.flatMap((endpoint): Leg[] => {
    const overlay = state.overlays.find(({ id }) => id === endpoint.overlayId);
    const device = deviceOf(endpoint, links) ?? joined.get(endpoint.endpointId);
    return overlay === undefined || device === undefined ? [] : [{ overlay, endpoint, device }];
  });
}

/** Ids of the endpoints whose interface is inside the namespace. */
export const presentEndpoints = (
  endpoints: readonly SandboxEndpoint[],
  links: readonly Link[],
): SandboxEndpoint[] => endpoints.filter(({ mac }) => links.some((link) => link.mac === mac));

function planOwnVip(leg: Leg): KernelObject[] {
  const { overlay, endpoint, device } = leg;
  const service = serviceOf(leg);
  const vip = overlay.services.find(({ id }) => id === service)?.vip;
  if (vip === undefined) return [];
  const family = familyOf(vip);
  const vipCidr = hostCidr(vip);
  return [
    ...replySysctls(family, device),
    ...heldSysctls[family],
    { kind: 'address', device: 'lo', address: vip, prefixLength: addressBits(family) },
    {
      kind: 'route',
      table: vipTable,
      type: 'unicast',
      destination: vipCidr,
      device,
      via: null,
      source: endpoint.address,
    },
    rule(family, vipRulePriority, vipTable, { iif: 'lo', to: vipCidr }),
  ];
}

function planAliases(state: NodeNetworkState, { overlay, device }: Leg): KernelObject[] {
  const { aliasRange } = state;
  const family = familyOf(aliasRange);
  const back = (table: number, via: Ip): KernelObject => ({
    kind: 'route',
    table,
    type: 'unicast',
    destination: anyCidr(family),
    device,
    via,
    source: null,
  });
  return [
    ...replySysctls(family, device),
    {
      kind: 'route',
      table: localTable,
      type: 'local',
      destination: aliasRange,
      device: 'lo',
      via: null,
      source: null,
    },
    back(ownAliasTable, overlay.own.address),
    back(aliasTable, overlay.gateway),
    rule(family, ownAliasRulePriority, ownAliasTable, {
      from: nodeAliasCidr(aliasRange, overlay.subnet, overlay.own.address),
    }),
    rule(family, aliasRulePriority, aliasTable, { from: aliasRange }),
  ];
}

/**
 * Packets come in by ways that their source would not be answered by, the container's own among them (hairpin). IPv6 does not ask; but
 * the engine may have switched it off.
 */
const replySysctls = (family: Family, device: string): KernelObject[] =>
  family === 4
    ? [
        sysctl('net/ipv4/conf/all/rp_filter', '0'),
        sysctl(`net/ipv4/conf/${device}/rp_filter`, '0'),
        sysctl(`net/ipv4/conf/${device}/accept_local`, '1'),
      ]
    : [sysctl('net/ipv6/conf/lo/disable_ipv6', '0'), sysctl(`net/ipv6/conf/${device}/disable_ipv6`, '0')];

/**
 * A VIP is held, not owned: neither answered for nor announced, that is the bridge's to do. IPv6 answers on a device for the
 * addresses of that device alone.
 */
const heldSysctls: Readonly<Record<Family, readonly KernelObject[]>> = {
  4: [sysctl('net/ipv4/conf/all/arp_ignore', '1'), sysctl('net/ipv4/conf/all/arp_announce', '2')],
  6: [],
};

function rule(
  family: Family,
  priority: number,
  table: number,
  { from = null, to = null, iif = null }: Partial<Pick<Rule, 'from' | 'to' | 'iif'>> = {},
  protocol = routeProtocol,
): Rule {
  return { kind: 'rule', family, priority, table, from, to, iif, protocol };
}

/**
 * What is ours in a container's namespace. A VIP of ours on `lo` is told from an address that the container gave itself
 * by the route that goes with it, or by standing in the subnet of an overlay. The kernel's rule for the local table goes where
 * ours is to take its place.
 */
export function ownsInSandbox(
  overlays: readonly Overlay[],
  observed: readonly KernelObject[],
  planned: readonly KernelObject[],
): (object: KernelObject) => boolean {
  const routed = new Set(
    observed.flatMap((object) =>
      object.kind === 'route' && object.table === vipTable ? [object.destination] : [],
    ),
  );
  const moved = new Set(
    planned.flatMap((object) =>
      object.kind === 'rule' && object.priority === localRulePriority ? [object.family] : [],
    ),
  );
  return (object) => {
    switch (object.kind) {
      case 'route':
        return true;
      case 'chain':
        return isOurChain(object.name);
      case 'jump':
        return isOurChain(object.target);
      case 'rule':
        return object.protocol === routeProtocol || (isKernelLocalRule(object) && moved.has(object.family));
      case 'address':
        return (
          object.device === 'lo' &&
          object.prefixLength === addressBits(familyOf(object.address)) &&
          (routed.has(hostCidr(object.address)) ||
            overlays.some((overlay) => subnetAround(overlay, object.address) !== undefined))
        );
      default:
        return false;
    }
  };
}
