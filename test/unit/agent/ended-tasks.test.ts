/** A node sends nothing to a task of its own whose process has ended, before any manager says so. */
import { afterEach, expect, test } from 'vitest';
import type { Assignment } from '../../../src/controlplane/rpc/assignment.js';
import type { NodeNetworkState } from '../../../src/dataplane/state.js';
import type { TaskId } from '../../../src/model/ids.js';
import { createLog } from '../../../src/runtime/log.js';
import { assignedNetwork, put } from '../../support/assigned-network.js';
import { endpointAssignment, nodeAssignment, overlayAssignment } from '../../support/assignment-items.js';

const log = createLog('test');
log.level = 'silent';
let stop = new AbortController();
afterEach(() => {
  stop.abort();
  stop = new AbortController();
});

const self = nodeAssignment('n1');
const overlay = (id: string): Assignment => overlayAssignment(id, '10.0.1');
const endpoint = (overlayId: string, taskId: string, serving: boolean, weight = 1): Assignment =>
  endpointAssignment({ overlayId, taskId, serviceId: 'web', nodeId: 'n1', serving, weight });

/** What the dataplane was given last: revision, and what is called serving. */
function start() {
  const states: NodeNetworkState[] = [];
  return {
    ...assignedNetwork(async (state) => void states.push(state), log, stop.signal),
    states,
    last: (): [number, Record<string, boolean>] | undefined => {
      const state = states.at(-1);
      return (
        state && [
          state.revision,
          Object.fromEntries(
            state.overlays.flatMap(({ id, endpoints }) =>
              [...endpoints].map(({ taskId, serving }) => [`${id}/${taskId}`, serving]),
            ),
          ),
        ]
      );
    },
  };
}

test.each([['told of changes', false] as const, ['told of all', true] as const])(
  'on all its networks, until a manager has heard of it: %s',
  async (_, whole) => {
    const { network, set, last, states } = start();
    const two = ['a', 'b'].flatMap((id) => [put(overlay(id)), put(endpoint(id, 't1', true))]);
    set([put(self), ...two, put(endpoint('a', 't2', true))], true);
    await expect.poll(last).toEqual([1, { 'a/t1': true, 'b/t1': true, 'a/t2': true }]);
    network.ended('t1' as TaskId);
    await expect.poll(last).toEqual([1, { 'a/t1': false, 'b/t1': false, 'a/t2': true }]);
    // What the manager says meanwhile it says without knowing.
    set([put(endpoint('a', 't1', true, 2)), put(endpoint('a', 't3', true))], whole);
    await expect.poll(last).toEqual([2, { 'a/t1': false, 'b/t1': false, 'a/t2': true, 'a/t3': true }]);
    set(
      ['a', 'b'].map((id) => put(endpoint(id, 't1', false))),
      whole,
    );
    await expect.poll(last).toEqual([3, { 'a/t1': false, 'b/t1': false, 'a/t2': true, 'a/t3': true }]);
    // From then on it is as managers say.
    set([put(endpoint('a', 't1', true))], whole);
    await expect.poll(last).toEqual([4, { 'a/t1': true, 'b/t1': false, 'a/t2': true, 'a/t3': true }]);
    expect(states).toHaveLength(5);
  },
);

test('one that nobody calls serving is nothing to tell of', async () => {
  const { network, set, last, states } = start();
  set([put(self), put(overlay('a')), put(endpoint('a', 't1', false))], true);
  await expect.poll(last).toEqual([1, { 'a/t1': false }]);
  network.ended('t1' as TaskId);
  network.ended('t9' as TaskId);
  set([put(endpoint('a', 't1', true))]);
  await expect.poll(last).toEqual([2, { 'a/t1': true }]);
  expect(states).toHaveLength(2);
});
