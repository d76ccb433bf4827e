/** rtnetlink of one namespace: its objects over one socket, and notifications of what changes there. */
import { parseAddress, Addresses } from './addresses.js';
import type { LinkAddress } from './addresses.js';
import * as c from './constants.js';
import { Links, parseLink, parsePortChange } from './links.js';
import type { BridgePort, Link } from './links.js';
import type { NetlinkMessage } from './message.js';
import { NamespaceIds } from './namespace-ids.js';
import { Fdb, Neighbours, parseFdbEntry, parseNeighbour } from './neighbours.js';
import type { FdbEntry, Neighbour } from './neighbours.js';
import { parseRoute, Routes } from './routes.js';
import type { Route } from './routes.js';
import { parseRule, Rules } from './rules.js';
import type { Rule } from './rules.js';
import { NetlinkSocket, subscribe } from './socket.js';
import type { FilterPlace } from './tc.js';
import { parseClsact, parsePlace, TrafficControl } from './tc.js';

/** Opened in a namespace, closed by Symbol.dispose. Methods of the objects reject with NetlinkError. */
export class RouteNetlink implements Disposable {
  readonly links: Links;
  readonly addresses: Addresses;
  readonly neighbours: Neighbours;
  readonly fdb: Fdb;
  readonly routes: Routes;
  readonly rules: Rules;
  readonly tc: TrafficControl;
  readonly namespaceIds: NamespaceIds;
  readonly #socket: NetlinkSocket;

  /** @param netns path of the namespace, or null for the host's own; throws Error with `code` ENOENT when it is absent */
  constructor(readonly netns: string | null) {
    this.#socket = new NetlinkSocket(netns);
    this.links = new Links(this.#socket);
    this.addresses = new Addresses(this.#socket);
    this.neighbours = new Neighbours(this.#socket);
    this.fdb = new Fdb(this.#socket);
    this.routes = new Routes(this.#socket);
    this.rules = new Rules(this.#socket);
    this.tc = new TrafficControl(this.#socket);
    this.namespaceIds = new NamespaceIds(this.#socket);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** What a subscriber may listen to; `neighbour` brings forwarding entries too, as the kernel sends them in one group. */
const topicGroups = {
  link: [c.RTNLGRP_LINK],
  neighbour: [c.RTNLGRP_NEIGH],
  address: [c.RTNLGRP_IPV4_IFADDR, c.RTNLGRP_IPV6_IFADDR],
  route: [c.RTNLGRP_IPV4_ROUTE, c.RTNLGRP_IPV6_ROUTE],
  rule: [c.RTNLGRP_IPV4_RULE, c.RTNLGRP_IPV6_RULE],
  filter: [c.RTNLGRP_TC],
} as const;
export type RouteTopic = keyof typeof topicGroups;

/** One change. `removed` is false for an object made or changed. */
export type RouteEvent =
  | { readonly object: 'link'; readonly removed: boolean; readonly link: Link }
  /** What a bridge keeps of a port, told where that changes and where the link itself does not. */
  | { readonly object: 'port'; readonly removed: false; readonly index: number; readonly port: BridgePort }
  | { readonly object: 'address'; readonly removed: boolean; readonly address: LinkAddress }
  | { readonly object: 'neighbour'; readonly removed: boolean; readonly neighbour: Neighbour }
  | { readonly object: 'fdb'; readonly removed: boolean; readonly entry: FdbEntry }
  /** `replaces`: it took the place of another to the same destination, which is gone without a word of its own. */
  | { readonly object: 'route'; readonly removed: boolean; readonly replaces: boolean; readonly route: Route }
  | { readonly object: 'rule'; readonly removed: boolean; readonly rule: Rule }
  /** Handle 0: all filters of that priority. */
  | { readonly object: 'filter'; readonly removed: boolean; readonly place: FilterPlace }
  /** The qdisc of the device, whose removal takes its filters along without another word. */
  | { readonly object: 'clsact'; readonly removed: boolean; readonly index: number }
  /** Messages were lost: only reading everything again tells what is there. */
  | { readonly object: 'lost' };

/**
 * Calls `listener` for every change of the topics in the namespace until disposed.
 * @throws Error with `code` when the namespace cannot be entered
 */
export function subscribeRoute(
  netns: string | null,
  topics: readonly RouteTopic[],
  listener: (event: RouteEvent) => void,
): Disposable {
  const groups = topics.flatMap((topic) => [...topicGroups[topic]]);
  return subscribe(netns, c.NETLINK_ROUTE, groups, (notification) => {
    if (notification.kind === 'lost') return listener({ object: 'lost' });
    for (const message of notification.messages) {
      const event = parseRouteEvent(message);
      if (event) listener(event);
    }
  });
}

/** Null for messages of other objects or families. */
export function parseRouteEvent(message: NetlinkMessage): RouteEvent | null {
  switch (message.type) {
    case c.RTM_NEWLINK:
    case c.RTM_DELLINK:
      // The bridge reports its ports in a family of its own; such a message lacks most of the link.
      if (message.payload.readUInt8(0) !== c.AF_UNSPEC) {
        const change = message.type === c.RTM_NEWLINK ? parsePortChange(message) : null;
        return change && { object: 'port', removed: false, ...change };
      }
      return { object: 'link', removed: message.type === c.RTM_DELLINK, link: parseLink(message) };
    case c.RTM_NEWADDR:
    case c.RTM_DELADDR: {
      const address = parseAddress(message);
      return address && { object: 'address', removed: message.type === c.RTM_DELADDR, address };
    }
    case c.RTM_NEWNEIGH:
    case c.RTM_DELNEIGH: {
      const removed = message.type === c.RTM_DELNEIGH;
      const entry = parseFdbEntry(message);
      if (entry) return { object: 'fdb', removed, entry };
      const neighbour = parseNeighbour(message);
      return neighbour && { object: 'neighbour', removed, neighbour };
    }
    case c.RTM_NEWROUTE:
    case c.RTM_DELROUTE: {
      const route = parseRoute(message);
      const replaces = (message.flags & c.NLM_F_REPLACE) !== 0;
      return route && { object: 'route', removed: message.type === c.RTM_DELROUTE, replaces, route };
    }
    case c.RTM_NEWRULE:
    case c.RTM_DELRULE: {
      const rule = parseRule(message);
      return rule && { object: 'rule', removed: message.type === c.RTM_DELRULE, rule };
    }
    case c.RTM_NEWTFILTER:
    case c.RTM_DELTFILTER: {
      const place = parsePlace(message.payload);
      return place && { object: 'filter', removed: message.type === c.RTM_DELTFILTER, place };
    }
    case c.RTM_NEWQDISC:
    case c.RTM_DELQDISC: {
      const index = parseClsact(message);
      return index === null ? null : { object: 'clsact', removed: message.type === c.RTM_DELQDISC, index };
    }
    default:
      return null;
  }
}
