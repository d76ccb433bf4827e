/**
 * The border of changes, as parse-state.ts is that of whole states and by the same laws: a change is taken when the state that it
 * makes would be. Who holds which address and MAC is remembered beside the state, so that a change costs what it names.
 */
import type { Ip, Mac } from '../model/addresses.js';
import { SkepError } from '../model/errors.js';
import type { NetworkId, NodeId, ServiceId, TaskId } from '../model/ids.js';
import { Fields, refuse, Unique } from './parse-fields.js';
import { parseEndpoint, parsePublishedPort, parseService, toServiceMessage } from './parse-state.js';
import type { Owners } from './parse-state.js';
import { applyStateChange, endpointKey, itemAt, serviceKey } from './state-change.js';
import type { OverlayChange, StateChange } from './state-change.js';
import type { NodeNetworkState, Overlay } from './state.js';
import { publishedPortKey } from './state.js';

/** As a message of proto/dataplane.proto, and as a line on disk. */
export const toChangeMessage = (change: StateChange): object => ({
  ...change,
  overlays: change.overlays.map((overlay) => ({
    ...overlay,
    services: overlay.services.map(toServiceMessage),
  })),
});

/** Who holds the addresses and MACs of one overlay: `own`, `gateway`, or a kind and an id. */
type Holders = Map<string, string>;

export class ChangeParser {
  /** The state that `#holders` are of. */
  #state: NodeNetworkState | null = null;
  readonly #holders = new Map<NetworkId, Holders>();

  /**
   * Reads a change of `held` and gives it with the state that it makes. Throws SkepError: `failedPrecondition` when it is of
   * another state, `invalidArgument` naming the field when that state would contradict itself.
   */
  parse(value: unknown, held: NodeNetworkState | null): { change: StateChange; state: NodeNetworkState } {
    const fields = new Fields(value, '', [
      'nodeId',
      'baseRevision',
      'revision',
      'overlays',
      'publishedPorts',
      'removedPorts',
    ]);
    const nodeId = fields.id('nodeId') as NodeId;
    const baseRevision = fields.integer('baseRevision', 1, Number.MAX_SAFE_INTEGER);
    if (held?.nodeId !== nodeId || held.revision !== baseRevision)
      throw new SkepError(
        'failedPrecondition',
        `a change of revision ${baseRevision}, and the one held is ${held?.revision ?? 'none'}`,
      );
    const ids = new Unique<string>();
    const ports = new Unique<string>();
    const change: StateChange = {
      nodeId,
      baseRevision,
      revision: fields.integer('revision', baseRevision, Number.MAX_SAFE_INTEGER),
      overlays: fields.list('overlays', (item, path) => {
        const overlay = this.#parseOverlay(item, path, held);
        ids.take(overlay.id, `${path}.id`);
        return overlay;
      }),
      publishedPorts: fields.list('publishedPorts', (item, path) => {
        const port = parsePublishedPort(item, path);
        ports.take(publishedPortKey(port), `${path}.publishedPort`);
        return port;
      }),
      removedPorts: fields.list('removedPorts', (item, path) => {
        const key = new Fields({ item }, path).name('item');
        ports.take(key, path);
        return key;
      }),
    };
    return { change, state: applyStateChange(held, change) };
  }

  /** What a change has made is held from now on; without, the next one costs a look at the whole state. */
  taken(before: NodeNetworkState, change: StateChange, state: NodeNetworkState): void {
    if (this.#state !== before) return;
    for (const one of change.overlays) {
      const overlay = before.overlays.find(({ id }) => id === one.id);
      const holders = this.#holders.get(one.id);
      if (overlay === undefined || holders === undefined) continue;
      const tasks = [...one.removedEndpoints, ...one.endpoints.map(endpointKey)];
      const services = [...one.removedServices, ...one.services.map(serviceKey)];
      for (const { what } of heldBy(overlay, tasks, services)) for (const key of what) holders.delete(key);
      for (const { taskId, address, mac } of one.endpoints)
        holders.set(address, endpointLabel(taskId)).set(mac, endpointLabel(taskId));
      for (const { id, vip } of one.services) if (vip !== undefined) holders.set(vip, serviceLabel(id));
    }
    this.#state = state;
  }

  #parseOverlay(value: unknown, path: string, held: NodeNetworkState): OverlayChange {
    const fields = new Fields(value, path, [
      'id',
      'endpoints',
      'removedEndpoints',
      'services',
      'removedServices',
    ]);
    const id = fields.id('id') as NetworkId;
    const overlay = held.overlays.find((one) => one.id === id);
    if (overlay === undefined) return refuse(fields.at('id'), `there is no overlay ${id}`);
    const removedEndpoints = idsIn(fields, 'removedEndpoints');
    const removedServices = idsIn(fields, 'removedServices');
    const tasks = [...removedEndpoints, ...idsIn(fields, 'endpoints', 'taskId')];
    const services = [...removedServices, ...idsIn(fields, 'services', 'id')];
    takeAll(tasks, fields.at('endpoints'));
    takeAll(services, fields.at('services'));
    // What is replaced or removed gives up what it had.
    const givenUp = new Set(heldBy(overlay, tasks, services).map(({ holder }) => holder));
    const holders = this.#holdersOf(held, overlay);
    const holderOf = (what: string): string | undefined => {
      const holder = holders.get(what);
      return holder === undefined || givenUp.has(holder) ? undefined : holder;
    };
    const owners: Owners = {
      network: overlay,
      addresses: new Unique<Ip>(holderOf),
      macs: new Unique<Mac>(holderOf),
    };
    return {
      id,
      endpoints: fields.list('endpoints', (item, itemPath) => parseEndpoint(item, itemPath, owners)),
      removedEndpoints,
      services: fields.list('services', (item, itemPath) => parseService(item, itemPath, owners)),
      removedServices,
    };
  }

  #holdersOf(state: NodeNetworkState, overlay: Overlay): Holders {
    if (this.#state !== state) {
      this.#holders.clear();
      this.#state = state;
    }
    const holders = this.#holders.get(overlay.id) ?? holdersIn(overlay);
    this.#holders.set(overlay.id, holders);
    return holders;
  }
}

const endpointLabel = (taskId: TaskId): string => `endpoint ${taskId}`;
const serviceLabel = (id: ServiceId): string => `service ${id}`;

function holdersIn({ gateway, own, peers, endpoints, services }: Overlay): Holders {
  const holders: Holders = new Map([[gateway, 'gateway']]);
  holders.set(own.address, 'own').set(own.mac, 'own');
  for (const { nodeId, address, mac } of peers)
    holders.set(address, `peer ${nodeId}`).set(mac, `peer ${nodeId}`);
  for (const { taskId, address, mac } of endpoints)
    holders.set(address, endpointLabel(taskId)).set(mac, endpointLabel(taskId));
  for (const { id, vip } of services) if (vip !== undefined) holders.set(vip, serviceLabel(id));
  return holders;
}

/** What these endpoints and services of the overlay hold, those that are there. */
function heldBy(
  { endpoints, services }: Overlay,
  taskIds: readonly string[],
  serviceIds: readonly string[],
): { readonly holder: string; readonly what: readonly string[] }[] {
  return [
    ...taskIds.flatMap((id) => {
      const was = itemAt(endpoints, endpointKey, id);
      return was ? [{ holder: endpointLabel(was.taskId), what: [was.address, was.mac] }] : [];
    }),
    ...serviceIds.flatMap((id) => {
      const was = itemAt(services, serviceKey, id);
      return was ? [{ holder: serviceLabel(was.id), what: was.vip === undefined ? [] : [was.vip] }] : [];
    }),
  ];
}

/** A list of ids, or of what has one at `key`. */
const idsIn = (fields: Fields, list: string, key?: string): string[] =>
  fields.list(list, (item, path) =>
    key === undefined ? new Fields({ item }, path).id('item') : new Fields(item, path).id(key),
  );

function takeAll(ids: readonly string[], path: string): void {
  const unique = new Unique<string>();
  for (const id of ids) unique.take(id, path);
}
