/** Many streams of one manager: none of them, nor all of them together, keeps it from hearing what else has come. */
import { pino } from 'pino';
import { afterEach, expect, test } from 'vitest';
import { Acknowledgements } from '../../../src/controlplane/dispatcher/acknowledgements.js';
import {
  AssignmentStreams,
  assignmentBatchMs,
} from '../../../src/controlplane/dispatcher/assignment-stream.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { Ip } from '../../../src/model/addresses.js';
import type { NodeId, SessionId } from '../../../src/model/ids.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { cluster, node, storeOf } from '../../support/cluster-objects.js';

const stop = new AbortController();
afterEach(() => stop.abort(new Error('over')));

const nodeIds = Array.from({ length: 200 }, (_, index) => `n${index}` as NodeId);

/** @param write called for each message, with its node; the node has taken it once that resolves */
function serveAll(store: MemoryStore, write: (nodeId: NodeId, more: boolean) => Promise<void>): void {
  const log = pino({ enabled: false });
  const streams = new AssignmentStreams({ store, clock: systemClock, log }, new Acknowledgements());
  for (const nodeId of nodeIds)
    streams
      .serve(
        { id: `s${nodeId}` as SessionId, nodeId, signal: stop.signal },
        { write: ({ more }) => write(nodeId, more === true), signal: stop.signal },
        { takesParts: true, takesPacked: true },
      )
      .catch(() => undefined);
}

test('all are told all, sixteen at a time; a change for all of them leaves room for what else there is to hear', async () => {
  const store = await storeOf({ cluster: [cluster()], node: nodeIds.map((id) => node(id)) });
  const held: (() => void)[] = [];
  let isHolding = true;
  let told = 0;
  serveAll(store, async () => {
    told += 1;
    if (isHolding) await new Promise<void>((resolve) => held.push(resolve));
  });
  await expect.poll(() => told).toBe(16);
  await systemClock.sleep(assignmentBatchMs);
  expect(told).toBe(16);
  isHolding = false;
  for (const release of held) release();
  await expect.poll(() => told).toBe(nodeIds.length);

  // All streams are past the time that goes together with their last message, and wait for the next change.
  await systemClock.sleep(2 * assignmentBatchMs);
  await store.update((tx) => {
    for (const known of tx.list('node')) tx.update('node', { ...known, dataPathAddr: '192.0.2.1' as Ip });
  });
  const toldByTurn: number[] = [];
  while (told < 2 * nodeIds.length) {
    await new Promise((resolve) => setImmediate(resolve));
    toldByTurn.push(told - nodeIds.length);
    if (toldByTurn.length > 10_000) break;
  }
  expect(told).toBe(2 * nodeIds.length);
  const steps = toldByTurn.map((count, turn) => count - (toldByTurn[turn - 1] ?? 0));
  expect(Math.max(...steps)).toBeLessThanOrEqual(40);
});
