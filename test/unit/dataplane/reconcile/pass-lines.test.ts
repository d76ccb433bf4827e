/** What a pass says of itself: one line if it has changed something, with the requests that it comes from, and none otherwise. */
import { expect, test } from 'vitest';
import type { Desired } from '../../../../src/dataplane/plan/node.js';
import { Reconciler } from '../../../../src/dataplane/reconcile/reconciler.js';
import type { TraceId } from '../../../../src/model/trace.js';
import type { Clock } from '../../../../src/runtime/clock.js';
import { collectedLog, eventsIn } from '../../../support/collected-log.js';
import type { ClusterOf } from '../plan/network-state.js';
import { stateOf } from '../plan/network-state.js';
import { ModelKernel } from './model-kernel.js';

const traceOf = (digit: string): TraceId => digit.repeat(32) as TraceId;
const cluster = (parts: readonly number[]): ClusterOf => ({
  ingress: true,
  ports: { 8080: 80 },
  tasks: parts.map((part) => ({ part, node: 2 })),
});
const desired = (revision: number, parts: readonly number[], ...digits: readonly string[]): Desired => ({
  state: { ...stateOf(1, cluster(parts)), revision },
  sandboxes: [],
  traces: digits.map(traceOf),
});

function make() {
  let nowMs = 1_000_000;
  const clock: Clock = {
    nowMs: () => nowMs,
    steadyMs: () => nowMs,
    sleep: async (delayMs) => void (nowMs += delayMs),
  };
  const kernel = new ModelKernel();
  const { log, lines } = collectedLog('info');
  const reconciler = new Reconciler({ kernel, clock, log });
  return { kernel, lines, reconciler, later: (ms: number) => (nowMs += ms) };
}

test('revision, operations by kind, namespaces, and the request; nothing when nothing was to be done', async () => {
  const { kernel, lines, reconciler } = make();
  reconciler.setDesired(desired(1, [3], 'a'));
  await reconciler.pass();
  await reconciler.pass();
  const [line, ...more] = eventsIn(lines, 'kernel.programmed');
  expect(more).toEqual([]);
  expect(line).toMatchObject({ revision: 1, trace_id: traceOf('a'), durationMs: 0 });
  const { kinds, ops, scopes } = line as { kinds: Record<string, number>; ops: number; scopes: string[] };
  expect(Object.values(kinds).reduce((sum, count) => sum + count, 0)).toBe(ops);
  expect(ops).toBe(kernel.applied.length);
  expect(kinds).toMatchObject({ 'add namespace': 2, 'add virtualServer': 3, 'add realServer': 3 });
  expect(scopes).toContain('host');
});

test('what comes together is one pass with the traces of all; what is given again has none anew', async () => {
  const { lines, reconciler } = make();
  reconciler.setDesired(desired(1, [3], 'a'));
  const second = desired(2, [3, 4], 'b', 'c');
  reconciler.setDesired(second);
  await reconciler.pass();
  // The engine has joined a container, say: the state is the same.
  reconciler.setDesired({ ...second, sandboxes: [] });
  await reconciler.pass();
  reconciler.setDesired(desired(3, [3, 4, 5], 'd'));
  await reconciler.pass();
  const found = eventsIn(lines, 'kernel.programmed');
  expect(found.map(({ revision, trace_id, trace_ids }) => [revision, trace_id ?? trace_ids])).toEqual([
    [2, ['a', 'b', 'c'].map(traceOf)],
    [3, traceOf('d')],
  ]);
});

test('what fails is programmed later with the trace of its request', async () => {
  const { kernel, lines, reconciler, later } = make();
  kernel.broken.add('host');
  reconciler.setDesired(desired(1, [3], 'a'));
  await reconciler.pass();
  expect(reconciler.status().lastError).not.toBe('');
  lines.length = 0;
  kernel.broken.clear();
  later(60_000);
  await reconciler.pass();
  expect(reconciler.status().lastError).toBe('');
  expect(eventsIn(lines, 'kernel.programmed')).toMatchObject([{ trace_id: traceOf('a') }]);
});

test('a repair of drift says how much it was, and shows the first of it', async () => {
  const { kernel, lines, reconciler } = make();
  reconciler.setDesired(desired(1, [3]));
  await reconciler.pass();
  await reconciler.pass();
  const added = /^overlay 4096: \+ (neighbour \S+ \S+)/;
  const gone = kernel.applied.flatMap((text) => added.exec(text)?.[1] ?? []);
  expect(gone.length).toBeGreaterThan(0);
  for (const text of gone) kernel.remove('overlay 4096', text);
  kernel.listeners.get('overlay 4096')?.('objects');
  await reconciler.pass();
  const [line] = eventsIn(lines, 'drift.repaired');
  expect(line).toMatchObject({ scope: 'overlay 4096', count: gone.length });
  expect(line?.['ops']).toEqual(gone.map((text) => expect.stringContaining(`+ ${text} `) as unknown));
  expect(line).not.toHaveProperty('trace_id');
});
