/** Simulated nodes read the head of a large message alone. */
import { expect, test } from 'vitest';
import { headOf } from '../../../bench/cluster/lean-client.js';
import { dispatcherDefinition, encodeChanges, packChanges } from '../../../src/controlplane/rpc/proto.js';

const port = (publishedPort: number) =>
  ({
    remove: false,
    assignment: {
      kind: 'publishedPort',
      item: { protocol: 'tcp', publishedPort, serviceId: 's', targetPort: 80, interfaces: [], cidrs: [] },
    },
  }) as const;

test.each([
  { complete: true, appliesTo: 0, resultsIn: 1, revision: 42, more: true },
  { complete: false, appliesTo: 300, resultsIn: 301, revision: 2 ** 40 + 42, more: false },
  // The tag of changes among a number's octets.
  { complete: true, appliesTo: 0x2a, resultsIn: 0x2a2a, revision: 0x2a2a2a, more: true },
])('%o', (head) => {
  const { Assignments: method } = dispatcherDefinition;
  for (const encode of [encodeChanges, packChanges]) {
    for (const traces of [[], [Buffer.alloc(16, 0x2a)]]) {
      const bytes = method?.responseSerialize({ ...head, traces, encoded: [encode([port(1), port(2)])] });
      const read: unknown = method?.responseDeserialize(headOf(bytes ?? Buffer.alloc(0)));
      expect(read).toEqual({ ...head, changes: [], traces: [] });
    }
  }
});
