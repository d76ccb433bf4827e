/**
 * The programs with maps of their own, filled by hand and run on one packet at a time (BPF_PROG_TEST_RUN), nothing attached. The
 * node is 192.0.2.1, also 192.0.2.2, and 10.0.1.1 on ingress; its alias of task n is 240.64.64.n, whose MAC ends in n.
 */
import { ipv4Number, ipv4Text } from '../../src/dataplane/ebpf/ipv4.js';
import type { LoadedPrograms } from '../../src/dataplane/ebpf/bpf.js';
import { loadPrograms } from '../../src/dataplane/ebpf/bpf.js';
import type { MapName } from '../../src/dataplane/ebpf/layout.js';
import { enums, limits, structs } from '../../src/dataplane/ebpf/layout.js';
import { u32Octets, viewOf } from '../../src/dataplane/ebpf/struct.js';
import { native } from '../../src/runtime/native.js';
import type { Mac } from '../../src/model/addresses.js';
import { TestBpffs } from '../support/bpf-object.js';

const TC_ACT = { '-1': 'unspecified', 0: 'ok', 2: 'drop', 7: 'redirect' } as Readonly<Record<number, string>>;
const ipProtocols = { tcp: 6, udp: 17, sctp: 132 } as const;
const publishedIndices = { tcp: 0, udp: 1, sctp: 2 } as const;
const { scheduler: schedulers, flowFlags, dropReason } = enums;

export type ProgramName = 'skep_uplink' | 'skep_loopback' | 'skep_return' | 'skep_vip' | 'skep_alias';

export interface TestServer {
  /** Number of the task: last octet of its address and MAC. */
  readonly task: number;
  readonly weight?: number;
  readonly generation?: number;
  readonly port?: number;
}

export interface TestVirtualServer {
  readonly index: number;
  readonly port?: { readonly protocol: keyof typeof ipProtocols; readonly published: number };
  readonly vip?: string;
  readonly scheduler?: 'RR' | 'WRR' | 'LC' | 'MH';
  readonly affinityS?: number;
  /** Sum of LIMITED_BY_DEVICE and LIMITED_BY_ADDRESS; 0: the port listens everywhere. */
  readonly limitedBy?: number;
  readonly servers: readonly TestServer[];
  /** Positions in `servers`, when they are not each one slot. */
  readonly slots?: readonly number[];
}

export const node = {
  address: '192.0.2.1',
  other: '192.0.2.2',
  own: '10.0.1.1',
  mac: '02:42:0a:00:01:01' as Mac,
};
export const taskMac = (task: number): Mac => `02:42:0a:00:00:${task.toString(16).padStart(2, '0')}` as Mac;
export const aliasOf = (task: number): string => `240.64.64.${task}`;
export const taskAddress = (task: number): string => `10.0.0.${task}`;
export const mark = 0x5e00_1234;
/** Room for the servers of one virtual server, in real servers and in slots; and virtual servers, with the unused first. */
const stride = 1024;
const virtualServersMax = 4;
const realServersMax = virtualServersMax * stride;

const capacities: Partial<Record<MapName, number>> = {
  skep_virtual_servers: virtualServersMax,
  skep_virtual_counters: virtualServersMax,
  skep_cursors: virtualServersMax,
  skep_real_servers: realServersMax,
  skep_counters: realServersMax * limits.COUNTER_SHARDS,
  skep_active: realServersMax,
  skep_slots: realServersMax,
  skep_flows: 4096,
  skep_young_flows: 4096,
};
/** Hashes, which are emptied; arrays that programs write for each virtual server; in others only what was put is zeroed. */
const hashes = [
  'skep_addresses',
  'skep_listeners',
  'skep_vips',
  'skep_flows',
  'skep_young_flows',
  'skep_affinity',
  'skep_fragments',
] as const;
const written = ['skep_virtual_counters', 'skep_cursors'] as const;

/** What a program made of a packet. */
export interface Outcome {
  readonly verdict: string;
  readonly frame: Buffer;
  readonly mark: number;
}

export class TestBalancer implements Disposable {
  readonly #bpffs = new TestBpffs();
  readonly #loaded: LoadedPrograms;
  readonly #put = new Map<MapName, Set<number>>();

  /** Loads the programs, which costs more than all else here. */
  constructor(flowsMax = capacities.skep_flows) {
    this.#loaded = loadPrograms({
      pinDirectory: this.#bpffs.pins,
      capacities: { ...capacities, ...(flowsMax === undefined ? {} : { skep_flows: flowsMax }) },
    });
    this.reset();
  }

  [Symbol.dispose](): void {
    this.#loaded[Symbol.dispose]();
    this.#bpffs[Symbol.dispose]();
  }

  /** As it was made: no virtual servers, no flows, nothing counted. */
  reset(): void {
    for (const name of hashes) {
      const map = this.map(name);
      map.deleteMany(map.getAll().map(({ key }) => key));
    }
    for (const name of written) {
      const map = this.map(name);
      map.putRange(0, Buffer.alloc(map.entriesMax * map.valueBytes));
    }
    for (const [name, indices] of this.#put)
      for (const index of indices)
        this.map(name).put(u32Octets(index), Buffer.alloc(this.map(name).valueBytes));
    this.#put.clear();
    this.configure({});
    for (const address of [node.address, node.other, node.own])
      this.map('skep_addresses').put(be32Octets(address), u32Octets(1));
  }

  map(name: MapName): NonNullable<ReturnType<LoadedPrograms['maps']['get']>> {
    const map = this.#loaded.maps.get(name);
    if (!map) throw new Error(`the object has no map ${name}`);
    return map;
  }

  /** Puts an entry of an array. */
  put(name: MapName, index: number, value: Buffer): void {
    this.map(name).put(u32Octets(index), value);
    const indices = this.#put.get(name) ?? new Set();
    this.#put.set(name, indices.add(index));
  }

  configure({
    throughChains = false,
    mtuBytes = 1450,
  }: {
    throughChains?: boolean;
    mtuBytes?: number;
  }): void {
    const settings = structs.settings.encode({
      aliasBase: ipv4Number('240.0.0.0'),
      aliasMask: ipv4Number('240.0.0.0'),
      ownAddress: ipv4Number(node.own),
      hostLink: 1,
      mtuBytes,
      ownMac: node.mac,
      throughChains: throughChains ? 1 : 0,
    });
    this.put('skep_settings', 0, settings);
  }

  /** Puts a virtual server with its real servers, or replaces it. */
  serve({
    index,
    port,
    vip,
    scheduler = 'RR',
    affinityS = 0,
    limitedBy = 0,
    servers,
    slots,
  }: TestVirtualServer): void {
    servers.forEach((server, i) => {
      this.setServer(index, i, server, port === undefined);
      this.#zeroCounts(index * stride + i);
    });
    const sequence = slots ?? servers.map((_, i) => i);
    sequence.forEach((server, i) => {
      this.put('skep_slots', index * stride + i, u32Octets(index * stride + server));
    });
    this.put(
      'skep_virtual_servers',
      index,
      structs.virtualServer.encode({
        firstSlot: index * stride,
        slotCount: sequence.length,
        scheduler: schedulers[`SCHEDULER_${scheduler}`],
        affinityS,
        vni: 0,
        mark,
        address: vip === undefined ? 0 : ipv4Number(vip),
        port: port?.published ?? 0,
        protocol: port === undefined ? 0 : ipProtocols[port.protocol],
        limitedBy,
      }),
    );
    if (port !== undefined)
      this.put('skep_ports', (publishedIndices[port.protocol] << 16) | port.published, u32Octets(index));
    // A test run has no class id: it is that of VNI 0.
    if (vip !== undefined)
      this.map('skep_vips').put(
        structs.vipKey.encode({ vni: 0, address: ipv4Number(vip) }),
        u32Octets(index),
      );
  }

  /** Changes one real server: its weight, or (another generation) which it is. */
  setServer(
    index: number,
    position: number,
    { task, weight = 1, generation = 1, port = 80 }: TestServer,
    vip = false,
  ): void {
    this.put(
      'skep_real_servers',
      index * stride + position,
      structs.realServer.encode({
        virtualServer: index,
        generation,
        address: ipv4Number(vip ? taskAddress(task) : aliasOf(task)),
        port: vip ? 0 : port,
        mac: taskMac(task),
        weight,
      }),
    );
  }

  #zeroCounts(realServer: number): void {
    const counters = Buffer.alloc(structs.counters.bytes);
    this.put('skep_active', realServer, Buffer.alloc(8));
    for (let shard = 0; shard < limits.COUNTER_SHARDS; shard++)
      this.put('skep_counters', realServer * limits.COUNTER_SHARDS + shard, counters);
  }

  removeServer(index: number, position: number): void {
    this.put('skep_real_servers', index * stride + position, Buffer.alloc(structs.realServer.bytes));
  }

  aliasNode(part: number, mac: Mac): void {
    this.put('skep_alias_nodes', part, structs.aliasNode.encode({ mac, present: 1 }));
  }

  run(
    program: ProgramName,
    frame: Buffer,
    context: Parameters<ReturnType<typeof native>['bpfTestRun']>[2] = {},
  ): Outcome {
    const loaded = this.#loaded.programs.get(program);
    if (!loaded) throw new Error(`the object has no program ${program}`);
    const { result, packet, mark: marked } = native().bpfTestRun(loaded.fd, frame, context);
    return { verdict: TC_ACT[result] ?? String(result), frame: packet, mark: marked };
  }

  /** Requests' entries of both tiers, as `young 192.0.2.9:4000>192.0.2.1:8080 to 240.64.64.5:80 ANSWERED`, sorted. */
  flows(): string[] {
    return this.#entries(false);
  }

  /** The same of replies' entries. */
  replies(): string[] {
    return this.#entries(true);
  }

  #entries(replies: boolean): string[] {
    return (['skep_flows', 'skep_young_flows'] as const)
      .flatMap((name) =>
        this.map(name)
          .getAll()
          .map(({ key, value }) => ({
            name,
            key: structs.flowKey.decode(key),
            flow: structs.flow.decode(value),
          })),
      )
      .filter(({ flow }) => ((flow.flags & flowFlags.FLOW_REPLY) !== 0) === replies)
      .map(({ name, key, flow }) => {
        const flags = Object.entries(flowFlags)
          .filter(([, bit]) => flow.flags & bit & ~flowFlags.FLOW_REPLY)
          .map(([flag]) => flag.slice('FLOW_'.length));
        return [
          name === 'skep_flows' ? 'firm' : 'young',
          `${ipv4Text(key.source)}:${key.sourcePort}>${ipv4Text(key.destination)}:${key.destinationPort}`,
          `to ${ipv4Text(flow.address)}:${flow.port}`,
          ...(flow.client === 0 ? [] : [`as ${ipv4Text(flow.client)}`]),
          ...flags,
        ].join(' ');
      })
      .sort();
  }

  /** A real server's counters, all shards together. */
  counters(
    index: number,
    position: number,
  ): Record<keyof ReturnType<typeof structs.counters.decode>, number> {
    const shards = Array.from({ length: limits.COUNTER_SHARDS }, (_, shard) => {
      const at = u32Octets((index * stride + position) * limits.COUNTER_SHARDS + shard);
      return structs.counters.decode(
        this.map('skep_counters').get(at) ?? Buffer.alloc(structs.counters.bytes),
      );
    });
    const sum = (field: keyof (typeof shards)[number]): number =>
      Number(shards.reduce((total, shard) => total + shard[field], 0n));
    return {
      connections: sum('connections'),
      packets: sum('packets'),
      bytes: sum('bytes'),
      replyPackets: sum('replyPackets'),
      replyBytes: sum('replyBytes'),
    };
  }

  active(index: number, position: number): number {
    const value = this.map('skep_active').get(u32Octets(index * stride + position));
    return Number(value?.readBigUInt64LE() ?? -1n);
  }

  setActive(index: number, position: number, flows: number): void {
    const value = Buffer.alloc(8);
    viewOf(value).setBigUint64(0, BigInt(flows), true);
    this.put('skep_active', index * stride + position, value);
  }

  drops(index: number): Partial<Record<keyof typeof dropReason, number>> {
    const value = this.map('skep_virtual_counters').get(u32Octets(index));
    const { drops } = structs.virtualCounters.decode(value ?? Buffer.alloc(structs.virtualCounters.bytes));
    return Object.fromEntries(
      Object.entries(dropReason).flatMap(([reason, at]) => {
        const count = Number(drops[at] ?? 0n);
        return count === 0 ? [] : [[reason, count]];
      }),
    );
  }
}

function be32Octets(address: string): Buffer {
  const octets = Buffer.alloc(4);
  octets.writeUInt32BE(ipv4Number(address));
  return octets;
}
