/** Programs on devices: attached by us and read back by tc(8) and by packets, and the other way round. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadPrograms } from '../../src/dataplane/ebpf/bpf.js';
import type { LoadedPrograms } from '../../src/dataplane/ebpf/bpf.js';
import type { RouteEvent } from '../../src/dataplane/netlink/route.js';
import { RouteNetlink, subscribeRoute } from '../../src/dataplane/netlink/route.js';
import { TestBpffs } from '../support/bpf-object.js';
import { TestNetns } from '../support/netns.js';

let bpffs: TestBpffs;
let object: string;
let loaded: LoadedPrograms;

/** Two programs that count UDP packets to port 9, each in a place of its own, and note the class id they were given. */
const source = `
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 3); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
static int count(struct __sk_buff *skb, __u32 place) {
  __u16 port = 0;
  __u8 protocol = 0;
  if (bpf_skb_load_bytes(skb, 14 + 9, &protocol, 1) < 0 || protocol != 17) return 0;
  if (bpf_skb_load_bytes(skb, 14 + 20 + 2, &port, 2) < 0 || port != __builtin_bswap16(9)) return 0;
  __u64 *counter = bpf_map_lookup_elem(&counts, &place);
  __u32 at = 2;
  __u64 *classid = bpf_map_lookup_elem(&counts, &at);
  if (counter) __sync_fetch_and_add(counter, 1);
  if (classid) *classid = skb->tc_classid;
  return 0;
}
SEC("tc") int first(struct __sk_buff *skb) { return count(skb, 0); }
SEC("tc") int second(struct __sk_buff *skb) { return count(skb, 1); }
`;
beforeAll(() => {
  bpffs = new TestBpffs();
  object = bpffs.compile(source);
  loaded = loadPrograms({ objectPath: object, pinDirectory: bpffs.pins });
});
afterAll(() => {
  loaded[Symbol.dispose]();
  bpffs[Symbol.dispose]();
});
const program = (name: string): { fd: number; tag: string; id: number } => {
  const found = loaded.programs.get(name);
  if (!found) throw new Error(`no program ${name}`);
  return found;
};
const readCounts = (): { first: number; second: number; classId: number } => {
  const values = loaded.maps.get('counts')?.getRange(0, 3) ?? Buffer.alloc(0);
  const at = (index: number): number => Number(values.readBigUInt64LE(8 * index));
  return { first: at(0), second: at(1), classId: at(2) };
};

/** A namespace with a veth pair whose ends have neighbours set by hand, so that nothing but the test's packets runs. */
async function pair(netns: TestNetns, nl: RouteNetlink): Promise<{ sender: number; receiver: number }> {
  for (const line of [
    'link set lo up',
    'link add name veth1 address 02:00:00:00:00:0a type veth peer name veth2 address 02:00:00:00:00:0b',
    'link set veth1 up',
    'link set veth2 up',
    'addr add 192.0.2.1/24 dev veth1',
    'neigh add 192.0.2.9 lladdr 02:00:00:00:00:0b dev veth1 nud permanent',
  ])
    await netns.ip(line);
  const [sender, receiver] = await Promise.all([nl.links.find('veth1'), nl.links.find('veth2')]);
  if (!sender || !receiver) throw new Error('the pair is missing');
  return { sender: sender.index, receiver: receiver.index };
}

/** Sends datagrams to 192.0.2.9:9 from a process of its own, so that they are under way while this one does other things. */
const send = (netns: TestNetns, count: number): Promise<string> =>
  netns.run(
    process.execPath,
    '-e',
    `const socket = require('node:dgram').createSocket('udp4');
     let left = ${count};
     socket.bind(() => { for (let i = 0; i < 50; i++) next(); });
     function next(error) {
       if (error) throw error;
       if (left-- > 0) socket.send('x', 9, '192.0.2.9', next);
       else if (left === -50) socket.close();
     }`,
  );

const place = { hook: 'ingress', priority: 94, handle: 1 } as const;

describe('filters', () => {
  test('attached, read back by us and by tc, counting packets with their class id, removed', async () => {
    await using netns = TestNetns.create();
    using nl = new RouteNetlink(netns.path);
    const { sender, receiver } = await pair(netns, nl);
    const { fd, tag, id } = program('first');
    const filter = { ...place, index: receiver, programFd: fd, name: 'first', classId: 0xabcd };

    await expect(nl.tc.replace(filter)).rejects.toMatchObject({
      code: expect.stringMatching(/ENOENT|EINVAL/) as string,
    });
    expect(await nl.tc.list(receiver, 'ingress')).toEqual([]);
    await nl.tc.ensureClsact(receiver);
    await nl.tc.ensureClsact(receiver);
    expect(await nl.tc.listClsact()).toEqual([receiver]);
    await nl.tc.replace(filter);
    const shown = { index: receiver, name: 'first', tag, programId: id, classId: 0xabcd, directAction: true };
    expect(await nl.tc.list(receiver, 'ingress')).toEqual([{ ...place, ...shown }]);
    expect(await nl.tc.list(receiver, 'egress')).toEqual([]);
    expect(await nl.tc.list(sender, 'ingress')).toEqual([]);
    expect(await nl.tc.list(4711, 'ingress')).toEqual([]);
    const rows = JSON.parse(await netns.run('tc', '-j', 'filter', 'show', 'dev', 'veth2', 'ingress')) as {
      protocol: string;
      pref: number;
      options?: Record<string, unknown>;
    }[];
    expect(rows).toMatchObject([
      { protocol: 'all', pref: 94, kind: 'bpf' },
      { options: { handle: '0x1', bpf_name: 'first', 'direct-action': true, prog: { id, tag } } },
    ]);

    const before = readCounts();
    await send(netns, 10);
    expect(readCounts()).toEqual({ first: before.first + 10, second: before.second, classId: 0xabcd });

    await nl.tc.remove({ ...place, index: receiver });
    expect(await nl.tc.list(receiver, 'ingress')).toEqual([]);
    await expect(nl.tc.remove({ ...place, index: receiver })).rejects.toMatchObject({ code: 'ENOENT' });
    await nl.tc.removeClsact(receiver);
    expect(await nl.tc.listClsact()).toEqual([]);
    await expect(nl.tc.ensureClsact(4711)).rejects.toMatchObject({ code: 'ENODEV' });
  });

  test('both hooks, and a stranger’s filter in front is shown and left alone', async () => {
    await using netns = TestNetns.create();
    using nl = new RouteNetlink(netns.path);
    const { sender } = await pair(netns, nl);
    await nl.tc.ensureClsact(sender);
    await netns.run(
      ...('tc filter add dev veth1 egress prio 7 bpf da obj'.split(' ') as [string]),
      object,
      'sec',
      'tc',
    );
    const ours = { ...place, index: sender, programFd: program('second').fd, name: 'second', classId: 0 };
    await nl.tc.replace({ ...ours, hook: 'egress' });
    await nl.tc.replace(ours);
    expect((await nl.tc.list(sender, 'egress')).map(({ priority, name }) => [priority, name])).toEqual([
      [7, expect.any(String)],
      [94, 'second'],
    ]);
    expect(await nl.tc.list(sender, 'ingress')).toHaveLength(1);
    await nl.tc.remove({ ...place, index: sender, hook: 'egress' });
    expect(await nl.tc.list(sender, 'egress')).toHaveLength(1);
  });

  test('the program is changed between two packets: each one is counted once', async () => {
    await using netns = TestNetns.create();
    using nl = new RouteNetlink(netns.path);
    const { receiver } = await pair(netns, nl);
    const packets = 50_000;
    await nl.tc.ensureClsact(receiver);
    const filters = ['first', 'second'].map((name) => ({
      ...place,
      index: receiver,
      programFd: program(name).fd,
      name,
      classId: 0,
    }));
    const [first, second] = filters as [(typeof filters)[0], (typeof filters)[0]];
    await nl.tc.replace(first);
    const before = readCounts();
    let replaced = 0;
    let sending = true;
    const sent = send(netns, packets).finally(() => (sending = false));
    for (; sending; replaced++) await nl.tc.replace(replaced % 2 === 0 ? second : first);
    await sent;
    const after = readCounts();
    const [byFirst, bySecond] = [after.first - before.first, after.second - before.second];
    expect(byFirst + bySecond).toBe(packets);
    expect(Math.min(byFirst, bySecond)).toBeGreaterThan(packets / 100);
    expect(replaced).toBeGreaterThan(100);
    expect(await nl.tc.list(receiver, 'ingress')).toHaveLength(1);
  });
});

describe('notifications', () => {
  test('a stranger’s removal of the filter, and of the whole qdisc, is heard', async () => {
    await using netns = TestNetns.create();
    using nl = new RouteNetlink(netns.path);
    const { receiver } = await pair(netns, nl);
    const events: RouteEvent[] = [];
    using subscription = subscribeRoute(netns.path, ['filter'], (event) => events.push(event));
    expect(subscription).toBeDefined();
    await nl.tc.ensureClsact(receiver);
    await nl.tc.replace({
      ...place,
      index: receiver,
      programFd: program('first').fd,
      name: 'first',
      classId: 0,
    });
    await netns.run('tc', 'filter', 'del', 'dev', 'veth2', 'ingress', 'pref', '94');
    await netns.run('tc', 'qdisc', 'del', 'dev', 'veth2', 'clsact');
    await expect
      .poll(() => events, { timeout: 5_000 })
      .toEqual(
        expect.arrayContaining([
          { object: 'clsact', removed: false, index: receiver },
          { object: 'filter', removed: false, place: { ...place, index: receiver } },
          { object: 'filter', removed: true, place: { ...place, index: receiver, handle: 0 } },
          { object: 'clsact', removed: true, index: receiver },
        ]),
      );
  });
});
