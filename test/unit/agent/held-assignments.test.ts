/** What a node knows from the messages of its sessions. */
import { expect, test } from 'vitest';
import { HeldAssignments } from '../../../src/controlplane/agent/held-assignments.js';
import type { Assignment, AssignmentsMessage } from '../../../src/controlplane/rpc/assignment.js';

const service = (id: string, name = id): Assignment => ({
  kind: 'service',
  item: {
    overlayId: 'net',
    serviceId: id,
    name,
    aliases: [],
    vip: '10.0.0.5',
    scheduler: 'rr',
    affinityS: 0,
  },
});
const message = (
  assignments: readonly Assignment[],
  { complete = false, more = false, remove = false } = {},
): AssignmentsMessage => ({
  ...{ complete, more, appliesTo: 0, resultsIn: 1, revision: 1 },
  changes: assignments.map((assignment) => ({ remove, assignment })),
});
const namesIn = (known: ReadonlyMap<string, Assignment> | null): unknown =>
  known && [...known.values()].map(({ item }) => ('name' in item ? item.name : undefined));

test('a complete set counts when its last part has come, and only what it names stays', () => {
  const held = new HeldAssignments();
  expect(held.take(message([service('a')], { complete: true, more: true }))).toBeNull();
  expect(namesIn(held.take(message([service('b')])))).toEqual(['a', 'b']);
  expect(held.take(message([service('b', 'b2')], { complete: true, more: true }))).toBeNull();
  expect(namesIn(held.take(message([service('c')])))).toEqual(['b2', 'c']);
});

test('differences change what is known', () => {
  const held = new HeldAssignments();
  const whole = held.take(message([service('a'), service('b')], { complete: true }));
  const known = held.take(message([service('a')], { remove: true }));
  expect(known).toBe(whole);
  expect(namesIn(held.take(message([service('c'), service('b', 'b2')])))).toEqual(['b2', 'c']);
});

test('what a later session repeats is the value of the earlier one, also behind a set that was cut off', () => {
  const held = new HeldAssignments();
  const known = [...(held.take(message([service('a'), service('b')], { complete: true })) ?? []).values()];
  held.take(message([service('a')], { complete: true, more: true }));
  const again = held.take(message([service('a'), service('b', 'b2')], { complete: true }));
  expect(again?.get('service/net/a')).toBe(known[0]);
  expect(again?.get('service/net/b')).toEqual(service('b', 'b2'));
});

test('in whatever order a later session says it, it is all that it says, and no value is new that was known', () => {
  const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
  const held = new HeldAssignments();
  let known = new Map(
    held.take(
      message(
        ids.map((id) => service(id)),
        { complete: true },
      ),
    ) ?? [],
  );
  for (const order of ['abcdef', 'bcdef', 'abdef', 'xabcdef', 'fedcba', 'acegf', 'abcdef', 'cab', '', 'ab']) {
    const said = [...order].map((id) => service(id));
    const again = held.take(message(said, { complete: true })) ?? new Map<string, Assignment>();
    expect([...again.values()]).toEqual(said);
    expect([...again.keys()]).toEqual([...order].map((id) => `service/net/${id}`));
    for (const [key, assignment] of again) if (known.has(key)) expect(assignment).toBe(known.get(key));
    known = new Map(again);
  }
});
