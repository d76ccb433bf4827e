/** Marks of silent nodes over states that change: right after any step, and what did not change is the same. */
import { describe, expect, test } from 'vitest';
import { SilenceMarks, takersOf } from '../../../../src/dataplane/silence.js';
import type { NodeNetworkState } from '../../../../src/dataplane/state.js';
import type { NodeId } from '../../../../src/model/ids.js';
import { difference } from '../../../../src/runtime/keyed-list.js';
import { changed, copyOf, emptyNetwork, endpointOf, random } from '../plan/changing-network.js';
import type { TaskOf } from '../plan/network-state.js';
import { nodeIdOf, stateOf } from '../plan/network-state.js';

const seed = Number(process.env['SKEP_SEED'] ?? 20_264);

/** What is said of a state with no memory of any before. */
const marked = (state: NodeNetworkState, silent: ReadonlySet<NodeId>): NodeNetworkState =>
  copyOf({
    ...state,
    overlays: state.overlays.map((overlay) => ({
      ...overlay,
      endpoints: overlay.endpoints.map((one) =>
        silent.has(one.nodeId) ? { ...one, silent: true as const } : one,
      ),
    })),
  });

describe('SilenceMarks', () => {
  test('nobody is silent: the state itself', () => {
    const state = stateOf(1, { tasks: [{ part: 3, node: 2 }] });
    expect(new SilenceMarks().mark(state, new Set())).toBe(state);
    expect(new SilenceMarks().mark(null, new Set([nodeIdOf(2)]))).toBeNull();
  });

  test(`the marks are those of the state as it is, and sharing is kept (seed ${seed})`, () => {
    const next = random(seed);
    const marks = new SilenceMarks();
    let joined = emptyNetwork();
    let silent: ReadonlySet<NodeId> = new Set();
    let [wasDifferent, wasSame] = [0, 0];
    for (let step = 0; step < 400; step++) {
      const before = { state: joined.state, result: marks.mark(joined.state, silent) };
      if (next() < 0.2) silent = new Set([2, 3].filter(() => next() < 0.5).map(nodeIdOf));
      else joined = changed(joined, next);
      const result = marks.mark(joined.state, silent);
      expect(copyOf(result as NodeNetworkState)).toEqual(
        copyOf(silent.size === 0 ? joined.state : marked(joined.state, silent)),
      );
      expect(marks.mark(joined.state, silent)).toBe(result);
      if (joined.state === before.state) continue;
      // What differs between two results differs between the states.
      for (const overlay of joined.state.overlays) {
        const of = (state: NodeNetworkState | null) => state?.overlays.find(({ id }) => id === overlay.id);
        const [was, is] = [of(before.result), of(result)];
        const raw = of(before.state);
        if (!was || !is || !raw) continue;
        const found = difference(was.endpoints, is.endpoints);
        const wanted = difference(raw.endpoints, overlay.endpoints);
        expect(found.come.length).toBe(wanted.come.length);
        if (found.come.length > 0) wasDifferent += 1;
        else wasSame += 1;
      }
    }
    expect(Math.min(wasDifferent, wasSame)).toBeGreaterThan(30);
  });
});

describe('takersOf', () => {
  const cases: readonly (readonly [name: string, tasks: readonly TaskOf[], takers: string[]])[] = [
    ['nobody', [], []],
    [
      'all that serve',
      [
        { part: 3, node: 1 },
        { part: 4, node: 2 },
        { part: 5, node: 2, serving: false },
      ],
      ['task3', 'task4'],
    ],
    [
      'those that are heard',
      [
        { part: 3, node: 1 },
        { part: 4, node: 2, silent: true },
      ],
      ['task3'],
    ],
    [
      'all that serve, where none of them is heard',
      [
        { part: 3, node: 1, silent: true },
        { part: 4, node: 2, silent: true },
        { part: 5, node: 3, serving: false },
      ],
      ['task3', 'task4'],
    ],
  ];
  for (const [name, tasks, takers] of cases)
    test(name, () => expect(takersOf(tasks.map(endpointOf)).map(({ taskId }) => taskId)).toEqual(takers));
});
