/**
 * A VIP costs a packet the same among a thousand services as alone: one look-up, no rule for each. The program of the `ebpf`
 * engine on single packets that open flows to one of them (BPF_PROG_TEST_RUN), in turns with one service and with a thousand.
 */
import { afterAll, expect, test } from 'vitest';
import type { LoadedPrograms } from '../../src/dataplane/ebpf/bpf.js';
import { loadPrograms } from '../../src/dataplane/ebpf/bpf.js';
import { EbpfTable } from '../../src/dataplane/ebpf/table.js';
import { native } from '../../src/runtime/native.js';
import type { RealServer, VirtualServer } from '../../src/dataplane/plan/objects.js';
import type { Ip, Mac } from '../../src/model/addresses.js';
import type { Vni } from '../../src/model/ids.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { systemClock } from '../../src/runtime/clock.js';
import { TestBpffs } from '../support/bpf-object.js';
import { frame } from './bpf-frames.js';
import { median } from '../support/median.js';

const undo = new CleanupStack();
afterAll(() => undo[Symbol.asyncDispose]());

/** The class of packets in a test run is 0: that of this VNI. */
const vni = 0x10000 as Vni;
const links = { indexOf: async () => 1, nameOf: async () => 'lo' };
const addressOf = (base: string, index: number): Ip => `${base}.${index >> 8}.${index & 255}` as Ip;

async function balancing(services: number): Promise<LoadedPrograms> {
  const bpffs = undo.use(new TestBpffs());
  const loaded = undo.use(loadPrograms({ pinDirectory: bpffs.pins }));
  const table = new EbpfTable(loaded.maps, systemClock).view(vni, links);
  const objects = Array.from({ length: services }, (_, index): (VirtualServer | RealServer)[] => {
    const mark = 0x5e000100 + index;
    const realServers = Array.from({ length: 10 }, (_none, task): RealServer => {
      const part = 10 * index + task;
      const mac =
        `02:42:0b:00:${(part >> 8).toString(16).padStart(2, '0')}:${(part & 255).toString(16).padStart(2, '0')}` as Mac;
      return {
        kind: 'realServer',
        mark,
        address: addressOf('11.1', part),
        port: 0,
        method: 'direct',
        weight: 1,
        mac,
      };
    });
    const frontend = { kind: 'vip', address: addressOf('11.0', index) } as const;
    return [
      { kind: 'virtualServer', family: 4, mark, frontend, scheduler: 'rr', affinityS: null },
      ...realServers,
    ];
  }).flat();
  await table.apply(objects.map((object) => ({ op: 'add', object })));
  return loaded;
}

test('a thousand services on a network cost a packet at most a tenth more than one', async () => {
  const contenders = [1, 1_000].map((services) => ({ services, loaded: balancing(services) }));
  const ready = await Promise.all(
    contenders.map(async ({ services, loaded }) => {
      const program = (await loaded).programs.get('skep_vip');
      expect(program).toBeDefined();
      return { services, fd: program?.fd ?? -1, medians: [] as number[] };
    }),
  );
  const macs = { from: '02:42:0b:00:ff:01' as Mac, to: '02:42:00:00:00:01' as Mac };
  let port = 1024;
  for (let round = 0; round < 21; round++)
    for (const { services, fd, medians } of ready) {
      const ns: number[] = [];
      for (let packet = 0; packet < 400; packet++) {
        port = port === 65_000 ? 1024 : port + 1;
        const to = `${addressOf('11.0', services >> 1)}:80`;
        const run = native().bpfTestRun(fd, frame('udp', { from: `11.9.0.9:${port}`, to, macs }), {});
        expect(run.packet.subarray(0, 3).toString('hex'), 'somebody serves').toBe('02420b');
        ns.push(run.durationNs);
      }
      medians.push(median(ns));
    }
  const [one, many] = ready.map(({ medians }) => medians);
  const ratio = median((many ?? []).map((ns, round) => ns / (one?.[round] ?? NaN)));
  console.log({ oneNs: median(one ?? []), manyNs: median(many ?? []), ratio });
  expect(ratio).toBeLessThan(1.1);
});
