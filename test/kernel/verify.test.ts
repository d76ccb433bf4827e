/** What `skep verify` costs with the `ebpf` engine, chains and maps read anew: by the processor, as others use it at the same time. */
import { rmSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { networkOf } from '../../bench/program/network.js';
import { BenchNode } from '../../bench/program/node.js';
import { openEngineOf } from '../conformance/engines.js';

const name = `kv${process.pid % 1000}`;
const pins = `/sys/fs/bpf/${name}`;
afterAll(() => rmSync(pins, { recursive: true, force: true }));

test('verify takes less than two seconds at 1,000 services of 10 endpoints', async () => {
  await using node = await BenchNode.create({ name, engine: openEngineOf('ebpf', pins) });
  await node.program(networkOf({ services: 1_000, endpoints: 10 }));
  const startMs = performance.now();
  const before = process.cpuUsage();
  expect(await node.reconciler.verify()).toEqual([]);
  const { user, system } = process.cpuUsage(before);
  const processorMs = (user + system) / 1_000;
  console.log(JSON.stringify({ processorMs, ms: performance.now() - startMs }));
  expect(processorMs).toBeLessThan(2_000);
});
