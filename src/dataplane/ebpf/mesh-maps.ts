/**
 * What the programs know of the node's place on ingress: settings, the host's addresses, where limited ports listen, and where
 * replies go by alias.
 */
import assert from 'node:assert';
import type { Cidr, Mac } from '../../model/addresses.js';
import { parseCidr } from '../../model/addresses.js';
import type { LinkIndices } from '../balancer/engine.js';
import type { Op } from '../plan/diff.js';
import type { AliasNode, Listener, LocalAddress, Mesh } from '../plan/objects.js';
import type { Maps } from './image.js';
import { ipv4Number, ipv4Text } from './ipv4.js';
import { structs } from './layout.js';
import { ListenerMap } from './listener-map.js';
import { MapFullError } from './map-full-error.js';
import { MirroredArray, sameEntries } from './mirrored-array.js';
import { be32, u32Octets, viewOf } from './struct.js';

export type MeshObject = Mesh | LocalAddress | Listener | AliasNode;
export type MeshOp = Op & { readonly object: MeshObject };

/** What skep_addresses holds for an address. */
const present = u32Octets(1);

export class MeshMaps {
  readonly #maps: Maps;
  readonly #aliasNodes: MirroredArray;
  readonly #listeners: ListenerMap;
  #settings: Buffer;
  /** Keys of skep_addresses; false: with another value than {@link present}. */
  #addresses: Map<number, boolean>;

  /** Reads the maps whole. Throws KernelError. */
  constructor(maps: Maps) {
    this.#maps = maps;
    this.#aliasNodes = new MirroredArray(maps.skep_alias_nodes, maps.skep_alias_nodes.entriesMax);
    this.#listeners = new ListenerMap(maps.skep_listeners);
    this.#settings = maps.skep_settings.getRange(0, 1);
    this.#addresses = this.#readAddresses();
  }

  /** Reads what is in use again; true when it was not as last read and written. Throws KernelError. */
  refresh(): boolean {
    const [settings, addresses] = [this.#settings, this.#addresses];
    const parts = this.#aliasNodes.refresh();
    const listenersChanged = this.#listeners.refresh();
    this.#settings = this.#maps.skep_settings.getRange(0, 1);
    this.#addresses = this.#readAddresses();
    return (
      parts.length > 0 ||
      listenersChanged ||
      !settings.equals(this.#settings) ||
      !sameEntries(addresses, this.#addresses)
    );
  }

  /** Attributes are absent where the kernel holds what nobody of ours can have written. */
  async observe(links: LinkIndices): Promise<MeshObject[]> {
    const found: MeshObject[] = [];
    if (!this.#settings.equals(noSettings)) found.push(await this.#observeMesh(links));
    for (const [address, whole] of this.#addresses)
      if (whole) found.push({ kind: 'localAddress', address: ipv4Text(address) });
    found.push(...(await this.#listeners.observe(links)));
    for (let part = 0; part < this.#aliasNodes.count; part++) {
      if (this.#aliasNodes.isZero(part)) continue;
      const node = structs.aliasNode.get(this.#aliasNodes.view, this.#aliasNodes.at(part));
      found.push({ kind: 'aliasNode', part, ...(node.present === 1 && { mac: node.mac }) } as AliasNode);
    }
    return found;
  }

  /** Addresses and listeners that no object can stand for, as last observed. */
  get hasLeftovers(): boolean {
    return [...this.#addresses.values()].includes(false) || this.#listeners.hasLeftovers;
  }

  clearLeftovers(): void {
    this.#removeAddresses([...this.#addresses].flatMap(([address, whole]) => (whole ? [] : [address])));
    this.#listeners.clearLeftovers();
  }

  /** Throws MapFullError when the addresses or the listeners would not fit. */
  checkRoom(ops: readonly MeshOp[]): void {
    const addresses = new Set(this.#addresses.keys());
    for (const { op, object } of ops) {
      if (object.kind !== 'localAddress') continue;
      if (op === 'delete') addresses.delete(ipv4Number(object.address));
      else addresses.add(ipv4Number(object.address));
    }
    const { name, entriesMax } = this.#maps.skep_addresses;
    if (addresses.size > entriesMax) throw new MapFullError(name, entriesMax, false);
    const map = this.#maps.skep_listeners;
    if (this.#listeners.sizeAfter(listenersOf(ops, 'put'), listenersOf(ops, 'delete')) > map.entriesMax)
      throw new MapFullError(map.name, map.entriesMax, false);
  }

  /**
   * What must be there before packets are led to virtual servers. Throws KernelError.
   * @param devices indices of the devices that are named by what is put
   */
  putMesh(ops: readonly MeshOp[], devices: ReadonlyMap<string, number>): void {
    const indexOf = (device: string): number => {
      const index = devices.get(device);
      assert(index !== undefined, `the index of ${device} is known`);
      return index;
    };
    for (const op of ops)
      if (op.object.kind === 'mesh' && op.op !== 'delete')
        this.#putSettings(structs.settings.encode(settingsOf(op.object, indexOf(op.object.device))));
    const nodes = new Map<number, AliasNode>();
    for (const { op, object } of ops)
      if (object.kind === 'aliasNode' && op !== 'delete') nodes.set(object.part, object);
    this.#writeAliasNodes(nodes, [...nodes.keys()]);
    this.#listeners.put(
      listenersOf(ops, 'put').map((object) => ({
        object,
        device: object.device === null ? 0 : indexOf(object.device),
      })),
    );
  }

  /** The rest: addresses last, as they open the door, and what goes. Throws KernelError. */
  putAddressesAndRemove(ops: readonly MeshOp[]): void {
    const put: number[] = [];
    const gone: number[] = [];
    const goneParts: number[] = [];
    let meshIsGone = false;
    for (const { op, object } of ops) {
      if (object.kind === 'localAddress') (op === 'delete' ? gone : put).push(ipv4Number(object.address));
      else if (op === 'delete' && object.kind === 'aliasNode') goneParts.push(object.part);
      else if (op === 'delete' && object.kind === 'mesh') meshIsGone = true;
    }
    if (put.length > 0)
      this.#maps.skep_addresses.putMany(put.map((address) => ({ key: addressKey(address), value: present })));
    for (const address of put) this.#addresses.set(address, true);
    this.#removeAddresses(gone);
    this.#listeners.remove(listenersOf(ops, 'delete'));
    this.#writeAliasNodes(new Map(), goneParts);
    if (meshIsGone) this.#putSettings(noSettings);
  }

  #readAddresses(): Map<number, boolean> {
    return new Map(
      this.#maps.skep_addresses
        .getAll()
        .map(({ key, value }) => [be32.get(viewOf(key), 0), value.equals(present)]),
    );
  }

  #removeAddresses(addresses: readonly number[]): void {
    if (addresses.length > 0) this.#maps.skep_addresses.deleteMany(addresses.map(addressKey));
    for (const address of addresses) this.#addresses.delete(address);
  }

  #putSettings(settings: Buffer): void {
    this.#maps.skep_settings.putRange(0, settings);
    this.#settings = settings;
  }

  #writeAliasNodes(nodes: ReadonlyMap<number, AliasNode>, parts: number[]): void {
    this.#aliasNodes.write(parts, (view, at, part) => {
      const node = nodes.get(part);
      structs.aliasNode.set(view, at, node ? { mac: node.mac, present: 1 } : { mac: noMac, present: 0 });
    });
  }

  async #observeMesh(links: LinkIndices): Promise<Mesh> {
    const settings = structs.settings.decode(this.#settings);
    const prefixLength = Math.clz32(~settings.aliasMask);
    const whole = maskOf(prefixLength) === settings.aliasMask && [0, 1].includes(settings.throughChains);
    return {
      kind: 'mesh',
      ownAddress: ipv4Text(settings.ownAddress),
      ownMac: settings.ownMac,
      device: (await links.nameOf(settings.hostLink)) ?? '',
      mtu: settings.mtuBytes,
      ...(whole && { aliasRange: `${ipv4Text(settings.aliasBase)}/${prefixLength}` as Cidr }),
      throughChains: settings.throughChains !== 0,
    } as Mesh;
  }
}

const listenersOf = (ops: readonly MeshOp[], which: 'put' | 'delete'): Listener[] =>
  ops.flatMap(({ op, object }) =>
    object.kind === 'listener' && (op === 'delete') === (which === 'delete') ? [object] : [],
  );

const noSettings = Buffer.alloc(structs.settings.bytes);
const noMac = '00:00:00:00:00:00' as Mac;

function addressKey(address: number): Buffer {
  const key = Buffer.alloc(be32.bytes);
  be32.set(viewOf(key), 0, address);
  return key;
}

const maskOf = (prefixLength: number): number =>
  prefixLength === 0 ? 0 : (0xffffffff << (32 - prefixLength)) >>> 0;

function settingsOf(mesh: Mesh, hostLink: number): ReturnType<typeof structs.settings.decode> {
  const { base, prefixLength } = parseCidr(mesh.aliasRange);
  return {
    aliasBase: Number(base),
    aliasMask: maskOf(prefixLength),
    ownAddress: ipv4Number(mesh.ownAddress),
    hostLink,
    mtuBytes: mesh.mtu,
    ownMac: mesh.ownMac,
    throughChains: mesh.throughChains ? 1 : 0,
  };
}
