/**
 * The `ebpf` engine's tables of one node: all scopes share the maps, the host being VNI 0 in them. A view of one scope turns
 * plan objects into entries (change.ts) and back (image.ts).
 *
 * The maps are the only truth. What they hold is kept in memory as last read and written; `fresh` reads it again, once for
 * all the scopes of a pass. A process that is killed at any point leaves what the next one finds, shows and clears.
 */
import type { Vni } from '../../model/ids.js';
import type { Clock } from '../../runtime/clock.js';
import type {
  BalancerObject,
  BalancerOp,
  BalancerTable,
  LinkIndices,
  VirtualServerCounters,
} from '../balancer/engine.js';
import { KernelError } from '../kernel/kernel-error.js';
import { opLine } from '../plan/diff.js';
import type { RealServer, VirtualServer } from '../plan/objects.js';
import { markPrefix } from '../state.js';
import type { BpfMap } from './bpf.js';
import type { ServerOp } from './change.js';
import { Change } from './change.js';
import { readCounters } from './counters.js';
import { readFlows } from './flows.js';
import { removeVips, writePorts } from './frontends.js';
import type { Maps } from './image.js';
import { Image } from './image.js';
import { mapShapes } from './layout.js';
import type { MeshOp } from './mesh-maps.js';
import { MeshMaps } from './mesh-maps.js';
import type { RealRecord, VirtualRecord } from './records.js';
import { hostVni } from './records.js';

/**
 * In the host's scope: a virtual server of this mark stands for entries that belong to nobody. Deleting it clears them. No real
 * one has it, as no port and no VIP's host part is 0.
 */
export const leftoversMark = markPrefix;

/** One reading serves the scopes that ask within this time, each once. */
const sharedReadingMs = 1_000;

interface Held {
  readonly image: Image;
  readonly mesh: MeshMaps;
}

export class EbpfTable {
  readonly #maps: Maps;
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #monotonicNs: () => bigint;
  /** Null: to be read whole. */
  #held: Held | null = null;
  #readMs = 0;
  #readFor: 'observe' | 'refresh' = 'observe';
  readonly #scopes = new Set<number>();
  /**
   * Scopes that have not been read since a reading was not of what had been read and written before. Whoever it was made for,
   * the change may be in any of them, and the next reading finds nothing new.
   */
  readonly #changed = new Set<number>();
  /** Scopes that the last reading served. */
  readonly #served = new Set<number>();
  /** Plan objects of scopes, as long as nothing changes. */
  readonly #objects = new Map<number, readonly BalancerObject[]>();

  /**
   * @param maps all of native/bpf/maps.h by name
   * @param monotonicNs the clock of the programs (CLOCK_MONOTONIC)
   * @throws KernelError for maps of another layout than the codec's
   */
  constructor(
    maps: ReadonlyMap<string, BpfMap>,
    clock: Pick<Clock, 'nowMs'>,
    monotonicNs: () => bigint = () => process.hrtime.bigint(),
  ) {
    this.#maps = checkedMaps(maps);
    this.#clock = clock;
    this.#monotonicNs = monotonicNs;
  }

  /** @param links of the host's namespace */
  view(vni: Vni | null, links: LinkIndices): BalancerTable {
    const scope = vni ?? hostVni;
    this.#scopes.add(scope);
    return {
      observe: (fresh) => this.#observe(scope, links, fresh),
      refresh: async () => {
        this.#readAgain(scope, 'refresh');
        return this.#changed.has(scope);
      },
      apply: (ops) => this.#apply(scope, links, ops),
      counters: async () => this.#counters(scope),
      flows: async (limit) => readFlows(this.#maps, this.#holding().image, scope, limit, this.#monotonicNs()),
      [Symbol.dispose]: () => undefined,
    };
  }

  /** VNIs of overlays that have virtual servers here. */
  overlays(): Vni[] {
    return [...this.#holding().image.scopes].flatMap(([vni, records]) =>
      vni !== hostVni && records.size > 0 ? [vni as Vni] : [],
    );
  }

  /** Removes the virtual servers of an overlay. Their flows are void from then on, whatever they are left to. */
  async forget(vni: Vni): Promise<void> {
    const records = [...this.#holding().image.scope(vni).values()];
    this.#change(
      vni,
      records.map(({ object }) => ({ op: 'delete', object })),
      [],
      new Map(),
    );
    this.#scopes.delete(vni);
    this.#changed.delete(vni);
  }

  async #observe(vni: number, links: LinkIndices, fresh: boolean): Promise<readonly BalancerObject[]> {
    if (fresh) this.#readAgain(vni, 'observe');
    const { image, mesh } = this.#holding();
    this.#changed.delete(vni);
    let objects = this.#objects.get(vni);
    if (objects === undefined) {
      objects = [...image.scope(vni).values()].flatMap((record) => [
        observedVirtual(record),
        ...Array.from(record.reals.values(), observedReal),
      ]);
      this.#objects.set(vni, objects);
    }
    if (vni !== hostVni) return objects;
    const ofMesh = await mesh.observe(links);
    const leftovers = Object.values(image.leftovers).some(({ size }) => size > 0) || mesh.hasLeftovers;
    return [...ofMesh, ...objects, ...(leftovers ? [leftoversObject] : [])];
  }

  async #apply(vni: number, links: LinkIndices, ops: readonly BalancerOp[]): Promise<void> {
    const serverOps: ServerOp[] = [];
    const meshOps: MeshOp[] = [];
    const devices = new Map<string, number>();
    for (const op of ops) {
      const { object } = op;
      if (object.kind === 'virtualServer' || object.kind === 'realServer') serverOps.push(op as ServerOp);
      else {
        meshOps.push(op as MeshOp);
        if (op.op === 'delete' || (object.kind !== 'mesh' && object.kind !== 'listener')) continue;
        if (object.device === null || devices.has(object.device)) continue;
        const index = await links.indexOf(object.device);
        if (index === null) throw new KernelError(opLine(op), 'ENODEV');
        devices.set(object.device, index);
      }
    }
    this.#change(vni, serverOps, meshOps, devices);
  }

  /** Not interrupted by anything else of this process, so that the image is that of the maps throughout. */
  #change(
    vni: number,
    serverOps: readonly ServerOp[],
    meshOps: readonly MeshOp[],
    devices: ReadonlyMap<string, number>,
  ): void {
    const { image, mesh } = this.#holding();
    const clears = serverOps.some(({ object }) => isLeftovers(object));
    mesh.checkRoom(meshOps);
    const change = new Change(
      this.#maps,
      image,
      vni,
      clears ? serverOps.filter(({ object }) => !isLeftovers(object)) : serverOps,
    );
    this.#objects.delete(vni);
    try {
      mesh.putMesh(meshOps, devices);
      change.write();
      mesh.putAddressesAndRemove(meshOps);
      if (clears) this.#clearLeftovers();
    } catch (err) {
      this.#forgetAll();
      throw err;
    }
  }

  #clearLeftovers(): void {
    const { image, mesh } = this.#holding();
    const { ports, vips, virtuals, reals } = image.leftovers;
    writePorts(image, new Map([...ports].map((index) => [index, 0])));
    removeVips(this.#maps, image, [...vips]);
    image.clearVirtuals([...virtuals]);
    image.clearReals([...reals]);
    mesh.clearLeftovers();
  }

  #counters(vni: number): VirtualServerCounters[] {
    return readCounters(this.#maps, [...this.#holding().image.scope(vni).values()]);
  }

  #holding(): Held {
    if (this.#held === null) {
      this.#held = { image: new Image(this.#maps, this.#clock), mesh: new MeshMaps(this.#maps) };
      this.#isRead(true);
    }
    return this.#held;
  }

  /** A reading for one purpose does not serve the other. */
  #readAgain(vni: number, purpose: 'observe' | 'refresh'): void {
    const recent = this.#readFor === purpose && this.#clock.nowMs() - this.#readMs < sharedReadingMs;
    if (this.#held !== null && !(recent && !this.#served.has(vni))) {
      try {
        const { image, mesh } = this.#held;
        const changed = image.refresh();
        this.#readFor = purpose;
        this.#isRead(mesh.refresh() || changed);
      } catch (err) {
        this.#forgetAll();
        throw err;
      }
    }
    this.#holding();
    this.#served.add(vni);
  }

  #isRead(changed: boolean): void {
    this.#readMs = this.#clock.nowMs();
    this.#served.clear();
    if (!changed) return;
    this.#objects.clear();
    for (const scope of this.#scopes) this.#changed.add(scope);
  }

  #forgetAll(): void {
    this.#held = null;
    this.#objects.clear();
  }
}

function checkedMaps(maps: ReadonlyMap<string, BpfMap>): Maps {
  for (const [name, { keyBytes, valueBytes }] of Object.entries(mapShapes)) {
    const map = maps.get(name);
    if (map?.keyBytes !== keyBytes || map.valueBytes !== valueBytes)
      throw new KernelError(`use map ${name}`, 'EINVAL', { text: 'its layout is another version’s' });
  }
  return Object.fromEntries(maps) as Maps;
}

const isLeftovers = (object: VirtualServer | RealServer): boolean =>
  object.kind === 'virtualServer' && object.mark === leftoversMark;

const leftoversObject = { kind: 'virtualServer', mark: leftoversMark } as VirtualServer;

// What is not so in the kernel is no attribute of what is observed, and so differs from any that is desired.

function observedVirtual({ object, damaged }: VirtualRecord): VirtualServer {
  if (!damaged.entry && !damaged.slots && !damaged.frontend) return object;
  const { frontend, scheduler, ...rest } = object;
  return {
    ...rest,
    ...(!damaged.frontend && { frontend }),
    ...(!damaged.entry && !damaged.slots && { scheduler }),
  } as VirtualServer;
}

function observedReal({ object, damaged }: RealRecord): RealServer {
  if (!damaged) return object;
  const { mac: _mac, ...rest } = object;
  return rest;
}
