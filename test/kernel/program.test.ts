/**
 * What programming costs with the `ebpf` engine, a small bench/program: one endpoint's change costs about the same among a
 * thousand services as among ten, and from nothing a network is made at a twentieth of what processes of tools take. Both are
 * ratios of processor time of one run, so that what else the machine does counts for little. A look at it takes less
 * than two seconds.
 */
import { rmSync } from 'node:fs';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, expect, test, vi } from 'vitest';
import { networkOf, withOneChange } from '../../bench/program/network.js';
import { BenchNode } from '../../bench/program/node.js';
import { fromNothing, oneChange } from '../../bench/program/program.js';
import { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import { systemClock } from '../../src/runtime/clock.js';
import { openEngineOf } from '../conformance/engines.js';

const name = `kp${process.pid % 1000}`;
const pins = `/sys/fs/bpf/${name}`;
const options = { name, openEngine: (node: string) => openEngineOf('ebpf', `${pins}/${node}`) };
afterAll(() => rmSync(pins, { recursive: true, force: true }));

test('one change among a thousand services costs at most half as much again as among ten', async () => {
  const sizes = [10, 1_000].map((services) => ({ services, endpoints: 10 }));
  const change = await oneChange(options, sizes, 40);
  console.log(JSON.stringify(change));
  expect(change.processorRatio).toBeLessThan(1.5);
});

test('from nothing costs at most a twentieth of what processes take', async () => {
  const nothing = await fromNothing(options, { services: 1_000, endpoints: 10 }, 0.02);
  console.log(JSON.stringify(nothing));
  expect(nothing.timesCheaper).toBeGreaterThan(20);
  expect(nothing.verifyMs, 'to see that nothing differs').toBeLessThan(2_000);
});

test('what a node does itself makes it look at nothing again; what somebody else does is seen and repaired', async () => {
  const size = { services: 10, endpoints: 10 };
  await using node = await BenchNode.create({ name: `${name}e`, engine: options.openEngine('e') });
  let state = networkOf(size);
  await node.program(state);
  // What hung on something made anew is looked at once more.
  await node.reconciler.pass();
  const looks = vi.spyOn(LinuxKernel.prototype, 'observe');
  for (let change = 0; change < 6; change++) await node.program((state = withOneChange(state, size)));
  const netns = `--net=${node.netnsDirectory}/skep-4097`;
  await promisify(execFile)('nsenter', [netns, ...'ip neigh del 11.0.0.27 dev br0'.split(' ')]);
  // Notifications come in order: by then those of the changes have come, too.
  const deadlineMs = Date.now() + 5_000;
  while (node.reconciler.status().driftRepairs === 0) {
    expect(Date.now(), 'repaired within five seconds').toBeLessThan(deadlineMs);
    await systemClock.sleep(10);
  }
  expect(looks.mock.calls.map(([scope]) => scope)).toEqual([{ kind: 'overlay', vni: 4097 }]);
  looks.mockRestore();
  expect(await node.reconciler.verify()).toEqual([]);
});
