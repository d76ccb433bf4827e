/**
 * Expiry of flows in the kernel's own maps: what is idle for too long goes, request and reply together, and nothing else; the
 * numbers of active flows come out right.
 */
import { hrtime } from 'node:process';
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from 'vitest';
import { loadPrograms } from '../../src/dataplane/ebpf/bpf.js';
import { flowIdleLimits } from '../../src/dataplane/plan/load-balancer.js';
import type { BpfMap, LoadedPrograms, MapEntry } from '../../src/dataplane/ebpf/bpf.js';
import { TestBpffs } from '../support/bpf-object.js';

const [tcp, udp, sctp] = [6, 17, 132] as const;
/** enum flow_flags of native/bpf/layout.h */
const [answered, established, clientFin, serverFin, reset, isReply] = [1, 2, 4, 8, 16, 32] as const;
const serversMax = 64;
/** Short, for no entry can have been seen before the machine was started; each another, so that none passes for its neighbour. */
const timeouts = {
  tcpEstablishedS: 24,
  tcpHalfOpenS: 9,
  tcpClosedS: 12,
  udpAnsweredS: 15,
  udpUnansweredS: 6,
  sctpEstablishedS: 21,
};

let bpffs: TestBpffs;
let object: string;
let loaded: LoadedPrograms;
let runs = 0;
beforeAll(() => {
  bpffs = new TestBpffs();
  // All maps of the engine, and a program that uses the four: others would not be loaded.
  object = bpffs.compile(`
#include "maps.h"
SEC("tc") int nothing(struct __sk_buff *skb) {
  struct flow_key key = {};
  __u32 index = skb->mark;
  return !bpf_map_lookup_elem(&skep_flows, &key) + !bpf_map_lookup_elem(&skep_young_flows, &key) +
         !bpf_map_lookup_elem(&skep_real_servers, &index) + !bpf_map_lookup_elem(&skep_active, &index);
}`);
});
afterAll(() => bpffs[Symbol.dispose]());
beforeEach(() => {
  loaded = loadPrograms({
    objectPath: object,
    pinDirectory: `${bpffs.pins}-${runs++}`,
    capacities: {
      skep_flows: 500_000,
      skep_young_flows: 10_000,
      skep_real_servers: serversMax,
      skep_active: serversMax,
    },
  });
  for (let server = 1; server < serversMax; server++) putServer(server, 1);
});
afterEach(() => loaded[Symbol.dispose]());

type Tier = 'skep_flows' | 'skep_young_flows';
const map = (name: string): BpfMap => {
  const found = loaded.maps.get(name);
  if (!found) throw new Error(`no map ${name}`);
  return found;
};
const has = (tier: Tier, key: Buffer): boolean => map(tier).get(key) !== null;

function word(number: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(number);
  return buffer;
}

function putServer(index: number, generation: number, virtualServer = 1): void {
  const value = Buffer.alloc(24);
  value.writeUInt32LE(virtualServer, 0);
  value.writeUInt32LE(generation, 4);
  map('skep_real_servers').put(word(index), value);
}

const activeOf = (server: number): bigint | undefined =>
  map('skep_active').get(word(server))?.readBigUInt64LE();
function setActive(server: number, count: bigint): void {
  const value = Buffer.alloc(8);
  value.writeBigUInt64LE(count);
  map('skep_active').put(word(server), value);
}

interface TestFlow {
  readonly protocol?: number;
  readonly flags?: number;
  /** Since the request's side was seen. */
  readonly idleS?: number;
  readonly replyIdleS?: number;
  readonly vni?: number;
  readonly server?: number;
  readonly generation?: number;
  /** What tells flows from one another. */
  readonly client?: number;
  /** A call from 127.0.0.1: the source is changed too. */
  readonly loopback?: boolean;
}

const node = 0xc0000201;
const alias = 0xf0000105;
const own = 0x0a000002;

/** The entries of a flow as the programs write them; a VIP's has no reply. */
function entriesOf(flow: TestFlow): { request: MapEntry; reply: MapEntry } {
  const { protocol = tcp, flags = 0, idleS = 0, vni = 0, server = 1, generation = 1, client = 1 } = flow;
  const address = flow.loopback ? 0x7f000001 : 0xc6330000 + (client >>> 14);
  const port = 1 + (client & 0x3fff);
  const scope = (vni << 8) | protocol;
  const key = (source: number, destination: number, sourcePort: number, destinationPort: number): Buffer => {
    const buffer = Buffer.alloc(16);
    buffer.writeUInt32BE(source >>> 0, 0);
    buffer.writeUInt32BE(destination >>> 0, 4);
    buffer.writeUInt16BE(sourcePort, 8);
    buffer.writeUInt16BE(destinationPort, 10);
    buffer.writeUInt32LE(scope, 12);
    return buffer;
  };
  const value = (seenS: number, to: number, clientTo: number, toPort: number, its: number): Buffer => {
    const buffer = Buffer.alloc(32);
    buffer.writeBigUInt64LE(hrtime.bigint() - BigInt(Math.round(seenS * 1e9)), 0);
    buffer.writeUInt32LE(server, 8);
    buffer.writeUInt32LE(generation, 12);
    buffer.writeUInt32BE(to >>> 0, 16);
    buffer.writeUInt32BE(clientTo >>> 0, 20);
    buffer.writeUInt16BE(toPort, 24);
    buffer.writeUInt16LE(its, 26);
    return buffer;
  };
  const changed = flow.loopback ? own : 0;
  return {
    request: {
      key: key(address, node, port, 80),
      value: value(idleS, alias, changed, vni === 0 ? 8080 : 0, flags),
    },
    reply: {
      key: key(alias, changed || address, 8080, port),
      value: value(flow.replyIdleS ?? idleS, node, flow.loopback ? address : 0, 80, isReply),
    },
  };
}

function put(tier: Tier, flow: TestFlow): { request: Buffer; reply: Buffer } {
  const { request, reply } = entriesOf(flow);
  map(tier).put(request.key, request.value);
  if (!flow.vni) map(tier).put(reply.key, reply.value);
  return { request: request.key, reply: reply.key };
}

describe('idle flows', () => {
  const cases: [name: string, tier: Tier, flow: TestFlow, timeoutS: number][] = [
    ['half-open', 'skep_young_flows', {}, timeouts.tcpHalfOpenS],
    ['half-open, answered', 'skep_young_flows', { flags: answered }, timeouts.tcpHalfOpenS],
    ['established', 'skep_flows', { flags: answered | established }, timeouts.tcpEstablishedS],
    [
      'established, one side has closed',
      'skep_flows',
      { flags: established | clientFin },
      timeouts.tcpEstablishedS,
    ],
    ['closed', 'skep_young_flows', { flags: established | clientFin | serverFin }, timeouts.tcpClosedS],
    ['reset', 'skep_young_flows', { flags: established | reset }, timeouts.tcpClosedS],
    [
      'closed, not yet moved',
      'skep_flows',
      { flags: established | clientFin | serverFin },
      timeouts.tcpClosedS,
    ],
    [
      'a VIP’s, established',
      'skep_flows',
      { vni: 5, flags: answered | established },
      timeouts.tcpEstablishedS,
    ],
    [
      'a VIP’s, closed by the client',
      'skep_young_flows',
      { vni: 5, flags: established | clientFin },
      timeouts.tcpClosedS,
    ],
    ['UDP, unanswered', 'skep_young_flows', { protocol: udp }, timeouts.udpUnansweredS],
    ['UDP, answered', 'skep_flows', { protocol: udp, flags: answered | established }, timeouts.udpAnsweredS],
    ['SCTP, half-open', 'skep_young_flows', { protocol: sctp }, timeouts.tcpHalfOpenS],
    [
      'SCTP, established',
      'skep_flows',
      { protocol: sctp, flags: answered | established },
      timeouts.sctpEstablishedS,
    ],
    ['SCTP, aborted', 'skep_young_flows', { protocol: sctp, flags: answered | reset }, timeouts.tcpClosedS],
    [
      'another protocol',
      'skep_young_flows',
      { vni: 5, protocol: 47, flags: answered },
      timeouts.udpAnsweredS,
    ],
    [
      'from 127.0.0.1',
      'skep_flows',
      { loopback: true, flags: answered | established },
      timeouts.tcpEstablishedS,
    ],
  ];
  test.each(cases)('%s', async (_, tier, flow, timeoutS) => {
    const staying = put(tier, { ...flow, idleS: timeoutS - 1.5 });
    const entries = flow.vni ? 1 : 2;
    expect(await loaded.expireFlows(timeouts)).toMatchObject({
      seen: entries,
      expired: 0,
      orphaned: 0,
      voided: 0,
    });
    expect([has(tier, staying.request), has(tier, staying.reply)]).toEqual([true, entries === 2]);
    put(tier, { ...flow, idleS: timeoutS + 1.5 });
    expect(await loaded.expireFlows(timeouts)).toMatchObject({ seen: entries, expired: 1, established: 0 });
    expect([has(tier, staying.request), has(tier, staying.reply)]).toEqual([false, false]);
  });

  test('one whose server goes on sending stays', async () => {
    const flow = put('skep_flows', {
      protocol: udp,
      flags: answered | established,
      idleS: 60,
      replyIdleS: 2,
    });
    expect(await loaded.expireFlows(timeouts)).toMatchObject({ expired: 0, orphaned: 0, established: 1 });
    expect(has('skep_flows', flow.reply)).toBe(true);
  });

  test('the engine’s own timeouts forget what is half-open, nothing established', async () => {
    put('skep_flows', { flags: answered | established, idleS: 25 });
    put('skep_young_flows', { protocol: udp, client: 2, idleS: 31 });
    expect(await loaded.expireFlows()).toMatchObject({ expired: 1, established: 1 });
    expect(flowIdleLimits.tcpEstablishedS).toBe(432_000);
  });
});

describe('entries that belong together', () => {
  test('a copy left in the other tier goes alone: the flow’s reply stays', async () => {
    const flow = { flags: answered | established, client: 4 };
    const { request, reply } = put('skep_flows', flow);
    map('skep_young_flows').put(request, entriesOf({ client: 4, idleS: 15 }).request.value);
    expect(await loaded.expireFlows(timeouts)).toMatchObject({ expired: 1, established: 1 });
    expect([has('skep_young_flows', request), has('skep_flows', request), has('skep_flows', reply)]).toEqual([
      false,
      true,
      true,
    ]);
  });

  test('a reply without its request goes, once it is certain that none is being written', async () => {
    const lost = entriesOf({ client: 7, idleS: 8 }).reply;
    const fresh = entriesOf({ client: 8, idleS: 4 }).reply;
    // Its request speaks of another task by now.
    const moved = put('skep_flows', { client: 9, flags: answered | established, idleS: 8 });
    const former = entriesOf({ client: 9, idleS: 8 }).reply;
    const formerKey = Buffer.from(former.key);
    formerKey.writeUInt32BE(alias + 1, 0);
    map('skep_young_flows').put(lost.key, lost.value);
    map('skep_young_flows').put(fresh.key, fresh.value);
    map('skep_flows').put(formerKey, former.value);
    expect(await loaded.expireFlows(timeouts)).toMatchObject({ orphaned: 2, expired: 0, established: 1 });
    expect(has('skep_young_flows', lost.key)).toBe(false);
    expect(has('skep_young_flows', fresh.key)).toBe(true);
    expect(has('skep_flows', formerKey)).toBe(false);
    expect(has('skep_flows', moved.reply)).toBe(true);
  });

  test('flows of a real server that is gone go at once, and are not taken from its successor', async () => {
    const old = put('skep_flows', { flags: answered | established, client: 1, server: 3 });
    const young = put('skep_young_flows', { client: 2, server: 3 });
    const kept = put('skep_flows', { flags: answered | established, client: 3, server: 3, generation: 2 });
    const unused = put('skep_flows', { flags: answered | established, client: 4, server: 9 });
    const beyond = put('skep_flows', { flags: answered | established, client: 5, server: serversMax });
    putServer(3, 2);
    putServer(9, 1, 0);
    setActive(3, 1n);
    expect(await loaded.expireFlows(timeouts)).toMatchObject({
      voided: 4,
      expired: 0,
      established: 1,
      corrected: 0,
    });
    for (const { request, reply } of [old, young, unused, beyond])
      expect([
        has('skep_flows', request),
        has('skep_flows', reply),
        has('skep_young_flows', request),
      ]).toEqual([false, false, false]);
    expect(has('skep_flows', kept.reply)).toBe(true);
    expect(activeOf(3)).toBe(1n);
  });
});

describe('active flows', () => {
  test('go down with what is deleted from skep_flows, and only with that', async () => {
    for (let client = 0; client < 10; client++)
      put('skep_flows', {
        flags: answered | established,
        client,
        server: 5,
        idleS: client < 4 ? 30 : 1,
      });
    put('skep_young_flows', { client: 20, server: 5, idleS: 15 });
    setActive(5, 10n);
    expect(await loaded.expireFlows(timeouts)).toMatchObject({ expired: 5, established: 6, corrected: 0 });
    expect(activeOf(5)).toBe(6n);
  });

  test('a wrong number is put right, one below zero as well', async () => {
    for (let client = 0; client < 3; client++)
      put('skep_flows', { flags: answered | established, client, server: 5 });
    setActive(5, 9n);
    setActive(6, 2n ** 64n - 4n);
    setActive(7, 1n);
    expect(await loaded.expireFlows(timeouts)).toMatchObject({ established: 3, corrected: 3 });
    expect([activeOf(5), activeOf(6), activeOf(7)]).toEqual([3n, 0n, 0n]);
    expect(await loaded.expireFlows(timeouts)).toMatchObject({ corrected: 0 });
  });
});

test('many flows: in chunks, off this thread, each met once', async () => {
  const flows = 100_000;
  const entries = Array.from({ length: flows }, (_, client) =>
    entriesOf({
      client,
      flags: answered | established,
      idleS: client % 10 === 0 ? 30 : 12,
      server: 1 + (client % 50),
    }),
  );
  map('skep_flows').putMany(entries.flatMap(({ request, reply }) => [request, reply]));
  for (let server = 1; server <= 50; server++) setActive(server, BigInt(flows / 50));
  let turns = 0;
  const turn = setInterval(() => turns++, 1);
  const counts = await loaded.expireFlows(timeouts);
  clearInterval(turn);
  expect(counts).toMatchObject({
    expired: flows / 10,
    established: (flows / 10) * 9,
    orphaned: 0,
    corrected: 0,
  });
  // A reply whose flow went before its turn came is not met any more.
  expect(counts.seen).toBeGreaterThanOrEqual(2 * flows - flows / 10);
  expect(counts.seen).toBeLessThanOrEqual(2 * flows);
  expect(map('skep_flows').getAll()).toHaveLength((flows / 10) * 18);
  expect(turns).toBeGreaterThan(5);
});
