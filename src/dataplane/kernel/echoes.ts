/**
 * Tells the kernel's notifications of our own operations from those of anybody else's: an operation says what it leaves behind
 * before it is done, and a notification that says exactly that is its echo. Whatever else a notification says of the same
 * object, it is somebody else's doing, also while ours is under way. So what we do makes nobody look at a whole namespace.
 */
import type { RouteEvent } from '../netlink/route.js';
import type { BridgePort, Link } from '../plan/objects.js';
import { satisfies } from '../plan/objects.js';

/** The kernel tells within milliseconds; what was expected for longer is forgotten. */
const rememberedMs = 5_000;

/** What is told apart from others: forwarding entries, neighbours, routes and addresses by the kernel's own keys. */
export const echoKey = {
  link: (index: number): string => `link ${index}`,
  fdb: (index: number, mac: string, table: 'self' | 'master'): string => `fdb ${index} ${mac} ${table}`,
  neighbour: (index: number, address: string): string => `neighbour ${index} ${address}`,
  route: (table: number, destination: string): string => `route ${table} ${destination}`,
  address: (index: number, address: string, prefixLength: number): string =>
    `address ${index} ${address}/${prefixLength}`,
} as const;

/** What a route is beyond its key. */
export const routeText = (route: {
  readonly type: string;
  readonly outIndex: number | null;
  readonly gateway: string | null;
  readonly source: string | null;
}): string => `${route.type} ${route.outIndex} ${route.gateway} ${route.source}`;

const isPortAsPut = (port: BridgePort, put: Link): boolean =>
  Object.entries(put.bridgePort ?? {}).every(([name, value]) => port[name as keyof BridgePort] === value);

export class Echoes {
  /** By key: what the object then is beyond its key, null when it is gone. Two ages, of which the older is forgotten whole. */
  #expected = new Map<string, string | null>();
  #older = new Map<string, string | null>();
  #sinceMs = 0;
  /** Links as we have put them, for as long as they are to be there. */
  readonly #links = new Map<string, Link>();

  constructor(private readonly nowMs: () => number = () => performance.now()) {}

  /** @param value null: the object is removed */
  expect(key: string, value: string | null): void {
    this.#age();
    this.#expected.set(key, value);
  }

  expectLink(link: Link): void {
    this.#links.set(link.name, link);
  }

  /** @param index of the link that is removed: one that is made of that name after it has another */
  expectLinkGone(name: string, index: number): void {
    this.#links.delete(name);
    this.expect(echoKey.link(index), null);
  }

  /**
   * @param toLink the link that a notification is about, as plan objects have it
   * @param nameOf the link of that index, as last seen
   */
  isEcho(
    event: RouteEvent,
    toLink: (link: (RouteEvent & { object: 'link' })['link']) => Link,
    nameOf: (index: number) => string | undefined,
  ): boolean {
    switch (event.object) {
      case 'fdb': {
        const { index, mac, table, dst } = event.entry;
        return this.#is(echoKey.fdb(index, mac, table), event.removed ? null : (dst ?? ''));
      }
      case 'neighbour': {
        const { index, address, mac, state } = event.neighbour;
        // A removal is told in two steps: no longer valid, then gone.
        const isGone = event.removed || (state === 'failed' && mac === null);
        if (!isGone && state !== 'permanent') return false;
        return this.#is(echoKey.neighbour(index, address), isGone ? null : (mac ?? ''));
      }
      case 'route': {
        const { table, destination } = event.route;
        return this.#is(echoKey.route(table, destination), event.removed ? null : routeText(event.route));
      }
      case 'address': {
        const { index, address, prefixLength } = event.address;
        return this.#is(echoKey.address(index, address, prefixLength), event.removed ? null : '');
      }
      case 'link': {
        const { name, index } = event.link;
        if (event.removed) return this.#is(echoKey.link(index), null);
        const put = this.#links.get(name);
        return put !== undefined && satisfies(toLink(event.link), put);
      }
      case 'port': {
        const put = this.#links.get(nameOf(event.index) ?? '');
        return put !== undefined && isPortAsPut(event.port, put);
      }
      case 'rule':
      case 'filter':
      case 'clsact':
      case 'lost':
        return false;
    }
  }

  #is(key: string, value: string | null): boolean {
    this.#age();
    const expected = this.#expected.has(key) ? this.#expected.get(key) : this.#older.get(key);
    return expected === value;
  }

  #age(): void {
    const nowMs = this.nowMs();
    if (nowMs - this.#sinceMs < rememberedMs) return;
    this.#older =
      nowMs - this.#sinceMs < 2 * rememberedMs ? this.#expected : new Map<string, string | null>();
    this.#expected = new Map();
    this.#sinceMs = nowMs;
  }
}
