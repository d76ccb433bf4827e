/**
 * The ebpf engine's table over the kernel's own maps: 10,000 virtual servers of ten real servers each, what one change costs
 * among them, a new process, and the memory of the maps. Its bpffs and maps end with the test.
 */
import assert from 'node:assert/strict';
import { closeSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, test } from 'vitest';
import type { BalancerObject, BalancerOp, BalancerTable } from '../../src/dataplane/balancer/engine.js';
import { loadPrograms, programsPath } from '../../src/dataplane/ebpf/bpf.js';
import type { LoadedPrograms } from '../../src/dataplane/ebpf/bpf.js';
import { mapShapes } from '../../src/dataplane/ebpf/layout.js';
import { EbpfTable } from '../../src/dataplane/ebpf/table.js';
import { native } from '../../src/runtime/native.js';
import { diff } from '../../src/dataplane/plan/diff.js';
import { line } from '../../src/dataplane/plan/objects.js';
import { systemClock } from '../../src/runtime/clock.js';
import { TestBpffs } from '../support/bpf-object.js';
import { balanced, meshObjects, port, realServer, vip } from '../unit/dataplane/ebpf/balanced-objects.js';
import type { Vni } from '../../src/model/ids.js';

const links = { indexOf: async () => 7, nameOf: async () => 'sk-ingress' };
let bpffs: TestBpffs;
let loaded: LoadedPrograms;
let table: EbpfTable;

beforeEach(() => {
  bpffs = new TestBpffs();
  restart();
});
afterEach(() => {
  loaded[Symbol.dispose]();
  bpffs[Symbol.dispose]();
});

/** What a new process has: the pins. */
function restart(): void {
  loaded = loadPrograms({ pinDirectory: bpffs.pins });
  table = new EbpfTable(loaded.maps, systemClock);
}

const host = (): BalancerTable => table.view(null, links);
const adds = (objects: readonly BalancerObject[]): BalancerOp[] =>
  objects.map((object) => ({ op: 'add', object }));
const servers = (count: number): BalancerObject[] =>
  Array.from({ length: count }, (_, i) =>
    balanced(port(1 + i), ...Array.from({ length: 10 }, (_none, j) => 10 * i + j)),
  ).flat();

/** Processor time of this process, in user and kernel: what others do at the same time does not count. */
async function processorMs(work: () => Promise<unknown>): Promise<number> {
  const begin = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(begin);
  return (user + system) / 1000;
}

async function timedMs(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

/** Milliseconds of one change: a real server comes and goes again, the median of many. */
async function oneChangeMs(among: number): Promise<number> {
  const middle = port(Math.ceil(among / 2));
  const object = realServer(middle, 999_999);
  const rounds: number[] = [];
  for (let i = 0; i < 100; i++)
    rounds.push(
      await timedMs(async () => {
        await host().apply([{ op: 'add', object }]);
        await host().apply([{ op: 'delete', object }]);
      }),
    );
  return (rounds.sort((a, b) => a - b)[50] ?? NaN) / 2;
}

describe('the table over the kernel’s maps', () => {
  test('what one process has written, the next one finds, goes on with and removes', async () => {
    const inHost = [
      ...meshObjects,
      ...balanced(port(8080, 'wrr', 60), 1, 2, 3),
      ...balanced(port(53, 'mh'), 4, 5),
    ];
    const inOverlay = balanced(vip(9, 'lc'), 1, 2);
    await host().apply(adds(inHost));
    await table.view(70_000 as Vni, links).apply(adds(inOverlay));
    loaded[Symbol.dispose]();
    restart();
    const sorted = (objects: readonly BalancerObject[]): string[] => objects.map(line).sort();
    assert.deepEqual(sorted(await host().observe(false)), sorted(inHost));
    assert.deepEqual(sorted(await table.view(70_000 as Vni, links).observe(true)), sorted(inOverlay));

    await table.forget(70_000 as Vni);
    const ops = diff([], await host().observe(true), () => true);
    await host().apply(ops as BalancerOp[]);
    loaded[Symbol.dispose]();
    restart();
    assert.deepEqual(await host().observe(true), []);
    assert.deepEqual(table.overlays(), []);
  });

  test('10,000 virtual servers of ten real servers each', { timeout: 120_000 }, async () => {
    const many = servers(10_000);
    await host().observe(false);
    const programMs = await processorMs(() => host().apply(adds(many)));
    const refreshMs = await processorMs(() => host().observe(true));
    const countersMs = await processorMs(() => host().counters());
    const amongManyMs = await oneChangeMs(10_000);
    loaded[Symbol.dispose]();
    restart();
    let observed: readonly BalancerObject[] = [];
    const readMs = await processorMs(async () => (observed = await host().observe(false)));
    assert.equal(observed.length, many.length);

    loaded[Symbol.dispose]();
    bpffs[Symbol.dispose]();
    bpffs = new TestBpffs();
    restart();
    await host().apply(adds(servers(10)));
    const amongFewMs = await oneChangeMs(10);
    console.log(
      Object.fromEntries(
        Object.entries({ programMs, refreshMs, readMs, countersMs, amongFewMs, amongManyMs }).map(
          ([name, ms]) => [name, Number(ms.toFixed(3))],
        ),
      ),
    );
    assert.ok(
      amongManyMs < 2 * amongFewMs + 0.1,
      `one change: ${amongManyMs} ms among 10,000, ${amongFewMs} among 10`,
    );
    assert.ok(programMs < 5_000, `${programMs} ms`);
  });

  test('the memory of all maps is bounded, and small while there are no flows', () => {
    // Descriptors of our own: what the kernel accounts for a map stands in its descriptor's file.
    const { maps, programs } = native().bpfLoad(programsPath, bpffs.pins, {});
    const bytes = Object.entries(maps).map(([name, { fd }]): [string, number] => {
      const text = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
      return [name, Number(/^memlock:\s*(\d+)/m.exec(text)?.[1])];
    });
    for (const { fd } of [...Object.values(maps), ...Object.values(programs)]) closeSync(fd);
    assert.deepEqual(new Set(bytes.map(([name]) => name)), new Set(Object.keys(mapShapes)));
    const total = bytes.reduce((sum, [, size]) => sum + size, 0);
    console.log(Object.fromEntries(bytes), `${(total / 2 ** 20).toFixed(1)} MiB`);
    assert.ok(total < 128 * 2 ** 20, `${total} bytes`);
  });
});
