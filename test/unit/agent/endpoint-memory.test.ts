/** What an agent holds of networks with very many endpoints. */
import { expect, test } from 'vitest';
import { HeldAssignments } from '../../../src/controlplane/agent/held-assignments.js';
import { assembleNodeNetworkState } from '../../../src/controlplane/agent/node-state.js';
import { shareState } from '../../../src/dataplane/share-state.js';
import type { NodeNetworkState } from '../../../src/dataplane/state.js';
import { applyChanges, parseMessage } from '../../../src/controlplane/rpc/assignment.js';
import type { Assignment, WireAssignmentsMessage } from '../../../src/controlplane/rpc/assignment.js';
import { DispatcherConstructor, encodeChanges } from '../../../src/controlplane/rpc/proto.js';
import { heapBytes } from '../../support/heap.js';

const endpoints = 20_000;
const inMessage = 400;
/**
 * As decoded each took 880: ids that many share, two empty lists and one with room for 17, a store of fields beside the object, and a
 * key in four pieces.
 */
const bytesMax = 600;

const idOf = (word: string): string => word.padEnd(25, '0');

function endpoint(i: number): Assignment {
  const octets = [i >> 8, i & 255];
  const hex = octets.map((octet) => octet.toString(16).padStart(2, '0'));
  const [service, taskId] = [`service${i % 600}`, idOf(`task${i}-`)];
  const item = {
    ...{
      overlayId: idOf('network'),
      taskId,
      serviceId: idOf(`${service}-`),
      nodeId: idOf(`node${i % 100}-`),
    },
    ...{ address: `10.1.${octets.join('.')}`, mac: `02:42:0a:01:${hex.join(':')}` },
    ...{ name: `${service}.${i}.${taskId}`, serving: true, weight: 100 },
    ...{ aliases: [taskId.slice(0, 12)], nameservers: [] },
  };
  return { kind: 'endpoint', item };
}

/** As it comes over the wire. */
const message = (from: number): WireAssignmentsMessage => {
  const indexes = Array.from({ length: inMessage }, (_, i) => from + i);
  const changes = indexes.map((i) => ({ remove: false, assignment: endpoint(i) }));
  const { Assignments: method } = DispatcherConstructor.service;
  if (!method) throw new Error('the dispatcher gives assignments');
  return method.responseDeserialize(encodeChanges(changes)) as WireAssignmentsMessage;
};

test('an endpoint among very many takes little', () => {
  const before = heapBytes();
  const known = new Map<string, Assignment>();
  for (let from = 0; from < endpoints; from += inMessage)
    applyChanges(known, parseMessage(message(from)).changes);
  const each = (heapBytes() - before) / endpoints;
  expect([...known.values()].at(-1)).toEqual(endpoint(endpoints - 1));
  expect(known.size).toBe(endpoints);
  expect(each).toBeGreaterThan(100);
  expect(each).toBeLessThan(bytesMax);
});

test('what a second session repeats is not held beside what the first one told', () => {
  const held = new HeldAssignments();
  let state: NodeNetworkState | undefined;
  const node: Assignment = {
    kind: 'node',
    item: { nodeId: idOf('node'), dataPathAddr: '10.9.0.1', dataPathPort: 4789 },
  };
  const overlay = {
    ...{ id: idOf('network'), name: 'net', vni: 4097, subnet: '10.1.0.0/16', gateway: '10.1.0.1' },
    ...{ ingress: false, internal: false, ownAddress: '10.1.255.1', ownMac: '02:42:00:00:00:01' },
    ...{ attachable: false, driverOptions: {}, labels: {} },
  };
  const session = (): void => {
    held.take({
      ...{ complete: true, appliesTo: 0, resultsIn: 1, revision: 1, more: true },
      changes: [node, { kind: 'overlay', item: overlay } as const].map((assignment) => ({
        remove: false,
        assignment,
      })),
    });
    for (let from = 0; from < endpoints; from += inMessage) {
      const more = from + inMessage < endpoints;
      const known = held.take({ ...parseMessage(message(from)), complete: false, more });
      const next = known && assembleNodeNetworkState(known, 1);
      if (next) state = shareState(state ?? null, next);
    }
  };
  // From outside: a frame holds on to what it had in hand.
  const nothing = heapBytes();
  session();
  const once = heapBytes();
  session();
  session();
  const [first, further] = [once - nothing, heapBytes() - once].map((bytes) => bytes / endpoints);
  expect([...(state?.overlays[0]?.endpoints ?? [])]).toHaveLength(endpoints);
  expect(first).toBeGreaterThan(100);
  // It was 280: the strings of the second session beside those that the state had of the first.
  expect(further).toBeLessThan(50);
});
