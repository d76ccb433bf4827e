/**
 * Links, addresses, forwarding entries, neighbours, routes and rules of one namespace over rtnetlink: what is there as plan
 * objects, and one op at a time. Names become indices here; an index is looked up anew after any failure, as a
 * device may have been made again under its name.
 */
import type { Family, Ip, Mac } from '../../model/addresses.js';
import { anyCidr, cidrContains, families, familyOf, normalizeCidr } from '../../model/addresses.js';
import type { Vni } from '../../model/ids.js';
import { isKernelsOwn } from '../netlink/addresses.js';
import { isErrno } from '../netlink/netlink-error.js';
import type { Link as NetlinkLink } from '../netlink/links.js';
import type { Route as NetlinkRoute } from '../netlink/routes.js';
import type { LinkIndices } from '../balancer/engine.js';
import type { RouteEvent } from '../netlink/route.js';
import { RouteNetlink } from '../netlink/route.js';
import type { TrafficControl } from '../netlink/tc.js';
import type { Op } from '../plan/diff.js';
import type { Address, FdbEntry, KernelObject, Link, Neighbour, Route, Rule } from '../plan/objects.js';
import { identity, line, mainTable, routeProtocol } from '../plan/objects.js';
import { echoKey, Echoes, routeText } from './echoes.js';
import { KernelError } from './kernel-error.js';

/** Kinds that this adapter reads and writes. */
export type RouteObject = Link | Address | FdbEntry | Neighbour | Route | Rule;
const kinds = new Set<KernelObject['kind']>(['link', 'address', 'fdb', 'neighbour', 'route', 'rule']);
export const isRouteObject = (object: KernelObject): object is RouteObject => kinds.has(object.kind);

/** Makes links whose other half, or whose socket, belongs to the host's namespace. */
export interface LinkFactory {
  makeVeth(link: Link): Promise<void>;
  makeVxlan(link: Link): Promise<void>;
  /** Moves a pair's end in from the host's namespace, under the link's name. */
  moveEnd(link: Link): Promise<void>;
}

type LinkEvent = RouteEvent & { readonly object: 'link' };

export class RouteObjects implements LinkIndices, Disposable {
  readonly #netlink: RouteNetlink;
  #indices = new Map<string, number>();
  /** Links that held an address when last observed, by index, each as it was then; null before that. */
  #addressed: ReadonlyMap<number, string> | null = null;
  readonly #echoes = new Echoes();

  /** Throws Error with `code` ENOENT when there is no such namespace. */
  constructor(
    netns: string | null,
    private readonly factory: LinkFactory,
  ) {
    this.#netlink = new RouteNetlink(netns);
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
  }

  /** Traffic control over the same socket. */
  get tc(): TrafficControl {
    return this.#netlink.tc;
  }

  /** Rejects with NetlinkError. */
  async indexOf(name: string): Promise<number | null> {
    return (await this.#netlink.links.find(name))?.index ?? null;
  }

  /** As it was last seen, without asking. */
  lastIndexOf(name: string): number | undefined {
    return this.#indices.get(name);
  }

  /** Rejects with NetlinkError. */
  async nameOf(index: number): Promise<string | null> {
    return (await this.#netlink.links.find(index))?.name ?? null;
  }

  /**
   * Rejects with NetlinkError.
   * @param wayOut which address is that of the default route is looked for, too: a dump of the main table more
   */
  async observe(wayOut = false): Promise<RouteObject[]> {
    const netlink = this.#netlink;
    const links = await netlink.links.list();
    const names = new Map(links.map(({ index, name }) => [index, name]));
    this.#indices = new Map(links.map(({ index, name }) => [name, index]));
    const name = (index: number | null): string => (index === null ? '' : (names.get(index) ?? `#${index}`));
    const [held, neighbours, fdb, routes, rules, mainRoutes] = await Promise.all([
      netlink.addresses.list(),
      netlink.neighbours.list(),
      links.some(({ kind }) => kind === 'bridge' || kind === 'vxlan') ? netlink.fdb.list() : [],
      netlink.routes.list({ protocol: routeProtocol }),
      netlink.rules.list(),
      wayOut ? netlink.routes.list({ table: mainTable }) : [],
    ]);
    const addresses = held.filter(({ address }) => !isKernelsOwn(address));
    const holders = new Set(addresses.map(({ index }) => index));
    this.#addressed = new Map(
      links.filter(({ index }) => holders.has(index)).map((link) => [link.index, line(toLink(link, name))]),
    );
    const out = families.map((family) => wayOutOf(family, mainRoutes, addresses));
    return [
      ...links.map((link) => toLink(link, name)),
      ...addresses.map(({ index, address, prefixLength }): Address => ({
        kind: 'address',
        device: name(index),
        address,
        prefixLength,
        ...(out.includes(address) ? { wayOut: true } : {}),
      })),
      // Entries that are not permanent were resolved by the kernel and go by themselves.
      ...neighbours.flatMap(({ index, address, mac, state }): Neighbour[] =>
        state === 'permanent' && mac !== null
          ? [{ kind: 'neighbour', device: name(index), address, mac }]
          : [],
      ),
      ...fdb.flatMap(({ index, mac, table, state, dst }): FdbEntry[] => {
        const device = name(index);
        // A bridge's permanent entries are its ports' own MACs, the dynamic ones are learned; the all-zero entry is a default VTEP.
        if (table === 'master') return state === 'static' ? [{ kind: 'fdb', device, mac, vtep: null }] : [];
        return dst === null || mac === ('00:00:00:00:00:00' as Mac)
          ? []
          : [{ kind: 'fdb', device, mac, vtep: dst }];
      }),
      ...routes.flatMap(({ table, type, destination, outIndex, gateway, source, protocol }): Route[] =>
        protocol === routeProtocol && (type === 'unicast' || type === 'local')
          ? [{ kind: 'route', table, type, destination, device: name(outIndex), via: gateway, source }]
          : [],
      ),
      ...rules.flatMap(
        ({ family, priority, action, table, source, destination, inName, mark, protocol }): Rule[] =>
          action === 'lookup' && (mark === null || mark.mask === wholeMark)
            ? [
                {
                  kind: 'rule',
                  family,
                  priority,
                  table,
                  from: source,
                  to: destination,
                  iif: inName,
                  ...(mark ? { mark: mark.value } : {}),
                  protocol,
                },
              ]
            : [],
      ),
    ];
  }

  /** Removes what has another end, or a socket, in the host's namespace. Rejects with NetlinkError. */
  async removeTunnelsAndPairs(): Promise<void> {
    for (const { kind, index } of await this.#netlink.links.list())
      if (kind === 'veth' || kind === 'vxlan') await alreadySo(this.#netlink.links.remove(index), 'ENODEV');
  }

  /**
   * Whether a notification of a link in the host tells nothing that anything is planned by: `planned`, the one of ours, and of
   * others those that hold an address. Their carrier is nobody's business here, and one that is given an address is told of by that.
   */
  isOfStranger({ removed, link }: LinkEvent, planned: string): boolean {
    if (this.#addressed === null || link.name === planned || this.#indices.get(planned) === link.index)
      return false;
    const seen = this.#addressed.get(link.index);
    return seen === undefined || (!removed && seen === line(toLink(link, this.#nameOf)));
  }

  /** Whether a notification tells of what {@link apply} has done or is doing, and of nothing more. */
  isEcho(event: RouteEvent): boolean {
    return this.#echoes.isEcho(event, (link) => toLink(link, this.#nameOf), this.#nameOf);
  }

  /** As last seen; '' for none, or one that was not there. */
  readonly #nameOf = (index: number | null): string =>
    [...this.#indices].find(([, one]) => one === index)?.[0] ?? '';

  /** Rejects with NetlinkError. */
  async apply(op: Op & { readonly object: RouteObject }): Promise<void> {
    try {
      if (op.op === 'delete') return await this.#remove(op.object);
      if (op.op === 'remake') await this.#remove(op.was as RouteObject);
      await this.#put(op.object);
    } catch (err) {
      this.#indices.clear();
      throw err;
    }
  }

  async #put(object: RouteObject): Promise<void> {
    const { addresses, neighbours, fdb, routes, rules } = this.#netlink;
    switch (object.kind) {
      case 'link':
        return this.#putLink(object);
      case 'address': {
        const { address, prefixLength } = object;
        const index = await this.#index(object.device);
        this.#echoes.expect(echoKey.address(index, address, prefixLength), '');
        return alreadySo(
          // That nobody else has an address is the managers' to know.
          addresses.add({ index, address, prefixLength, noDad: familyOf(address) === 6 }),
          'EEXIST',
        );
      }
      case 'fdb': {
        const { mac, vtep } = object;
        const index = await this.#index(object.device);
        this.#echoes.expect(echoKey.fdb(index, mac, vtep === null ? 'master' : 'self'), vtep ?? '');
        return fdb.replace(
          vtep === null
            ? { index, mac, table: 'master', state: 'static' }
            : { index, mac, table: 'self', state: 'permanent', dst: vtep },
        );
      }
      case 'neighbour': {
        const { address, mac } = object;
        const index = await this.#index(object.device);
        this.#echoes.expect(echoKey.neighbour(index, address), mac);
        return neighbours.replace({ index, address, mac });
      }
      case 'route': {
        const route = await this.#route(object);
        this.#echoes.expect(echoKey.route(route.table, route.destination), routeText(route));
        return routes.replace({ ...route, onlink: object.via !== null });
      }
      case 'rule':
        return alreadySo(rules.add(netlinkRule(object)), 'EEXIST');
    }
  }

  async #remove(object: RouteObject): Promise<void> {
    const { links, addresses, neighbours, fdb, routes, rules } = this.#netlink;
    // A device that is gone took with it all that hung on it.
    const index =
      object.kind === 'rule' ? 0 : await this.#find(object.kind === 'link' ? object.name : object.device);
    if (index === null) return;
    switch (object.kind) {
      case 'link':
        this.#echoes.expectLinkGone(object.name, index);
        this.#indices.delete(object.name);
        return alreadySo(links.remove(index), 'ENODEV');
      case 'address':
        this.#echoes.expect(echoKey.address(index, object.address, object.prefixLength), null);
        return alreadySo(
          addresses.remove({ index, address: object.address, prefixLength: object.prefixLength }),
          'EADDRNOTAVAIL',
          'ENODEV',
        );
      case 'fdb': {
        const { mac, vtep } = object;
        this.#echoes.expect(echoKey.fdb(index, mac, vtep === null ? 'master' : 'self'), null);
        return alreadySo(
          fdb.remove(
            vtep === null ? { index, mac, table: 'master' } : { index, mac, table: 'self', dst: vtep },
          ),
          'ENOENT',
          'ENODEV',
        );
      }
      case 'neighbour':
        this.#echoes.expect(echoKey.neighbour(index, object.address), null);
        return alreadySo(neighbours.remove({ index, address: object.address }), 'ENOENT', 'ENODEV');
      case 'route':
        this.#echoes.expect(echoKey.route(object.table, object.destination), null);
        return alreadySo(routes.remove(await this.#route(object)), 'ESRCH', 'ENODEV');
      case 'rule':
        return alreadySo(rules.remove(netlinkRule(object)), 'ENOENT');
    }
  }

  async #putLink(link: Link): Promise<void> {
    const { links } = this.#netlink;
    let present = await links.find(link.name);
    // Half of a pair that is made from the other side is waited for, not made.
    if (present === null) {
      if (link.end !== undefined) await this.factory.moveEnd(link);
      else if (link.type === 'veth' && link.peer) await this.factory.makeVeth(link);
      else if (link.type === 'vxlan') await this.factory.makeVxlan(link);
      else if (link.type === 'bridge')
        await links.add({
          kind: 'bridge',
          name: link.name,
          // Snooping would stop multicast without a querier, and there is nobody to send one.
          multicastSnooping: false,
          stp: false,
          ...(link.mac ? { mac: link.mac } : {}),
        });
      else throw new KernelError(`set ${identity(link)}`, 'ENODEV');
      present = await links.find(link.name);
      if (present === null) throw new KernelError(`make ${identity(link)}`, 'ENODEV');
    }
    this.#indices.set(link.name, present.index);
    this.#echoes.expectLink(link);
    const master = link.master === undefined ? undefined : await this.#index(link.master);
    if (master !== undefined && present.master !== master) await links.change(present.index, { master });
    // A bridge that was not given its MAC takes the lowest of its ports'.
    const mac = link.mac !== undefined && present.mac !== link.mac ? { mac: link.mac } : {};
    const mtu = link.mtu !== undefined && present.mtu !== link.mtu ? { mtu: link.mtu } : {};
    if (mac.mac ?? mtu.mtu) await links.change(present.index, { ...mac, ...mtu });
    if (link.bridgePort) await links.changePort(present.index, link.bridgePort);
    if (link.up !== undefined && present.up !== link.up) await links.change(present.index, { up: link.up });
  }

  async #route({ destination, type, table, device, via, source }: Route) {
    const outIndex = await this.#index(device);
    return { destination, type, table, outIndex, gateway: via, source, protocol: routeProtocol };
  }

  async #find(name: string): Promise<number | null> {
    const known = this.#indices.get(name);
    if (known !== undefined) return known;
    const link = await this.#netlink.links.find(name);
    if (link) this.#indices.set(name, link.index);
    return link?.index ?? null;
  }

  async #index(name: string): Promise<number> {
    const index = await this.#find(name);
    if (index === null) throw new KernelError(`find link ${name}`, 'ENODEV');
    return index;
  }
}

function toLink(link: NetlinkLink, name: (index: number | null) => string): Link {
  const { kind, vxlan, port, master } = link;
  return {
    kind: 'link',
    name: link.name,
    type: kind === 'bridge' || kind === 'vxlan' || kind === 'veth' ? kind : 'other',
    mtu: link.mtu,
    up: link.up,
    master: name(master),
    ...(link.mac ? { mac: link.mac } : {}),
    ...(vxlan?.local
      ? {
          vxlan: {
            vni: vxlan.vni as Vni,
            port: vxlan.port,
            local: vxlan.local,
            learning: vxlan.learning,
          },
        }
      : {}),
    ...(port
      ? {
          bridgePort: {
            learning: port.learning,
            neighSuppress: port.neighSuppress,
            unicastFlood: port.unicastFlood,
          },
        }
      : {}),
  };
}

const wholeMark = 0xffffffff;

/** The source that the kernel takes for what leaves by a family's default route: the route's own, else the one next to the gateway. */
function wayOutOf(
  family: Family,
  routes: readonly NetlinkRoute[],
  addresses: readonly { readonly index: number; readonly address: Ip; readonly prefixLength: number }[],
): Ip | null {
  const [first] = routes
    .filter(({ destination, type }) => destination === anyCidr(family) && type === 'unicast')
    .sort((a, b) => a.priority - b.priority);
  if (!first) return null;
  const { source, outIndex, gateway } = first;
  const held = addresses.filter(({ index, address }) => index === outIndex && familyOf(address) === family);
  const near = held.find(
    ({ address, prefixLength }) =>
      gateway !== null && cidrContains(normalizeCidr(`${address}/${prefixLength}`), gateway),
  );
  return source ?? (near ?? held[0])?.address ?? null;
}

const netlinkRule = ({ family, priority, table, from, to, iif, mark, protocol }: Rule) => ({
  family,
  priority,
  action: 'lookup' as const,
  table,
  source: from,
  destination: to,
  inName: iif,
  mark: mark === undefined ? null : { value: mark, mask: wholeMark },
  protocol,
});

/** Absorbs the errnos that mean the kernel is already as asked. */
async function alreadySo(request: Promise<void>, ...codes: string[]): Promise<void> {
  try {
    await request;
  } catch (err) {
    if (!isErrno(err, ...codes)) throw err;
  }
}
