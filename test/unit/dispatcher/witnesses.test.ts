/** Who is asked for a sign of life, and who is lost, when others do not hear them. */
import { expect, test } from 'vitest';
import { Witnesses } from '../../../src/controlplane/dispatcher/witnesses.js';
import type { NetworkId, NodeId } from '../../../src/model/ids.js';
import { node } from '../../support/cluster-objects.js';

const periodMs = 5_000;
const stepMs = 100;
const endMs = 20_000;

/** What happens at a time, in ms: a verb, and whom it is about. */
type Event =
  | readonly [atMs: number, verb: 'dies' | 'lives' | 'leaves' | 'cannot judge', who: string]
  | readonly [atMs: number, verb: 'miss' | 'hear', witnesses: string, whom: string]
  | readonly [atMs: number, verb: 'the manager sleeps', forMs: number];

interface Case {
  /** Networks of each node, by the first letters of their names. */
  readonly nodes: Readonly<Record<string, string>>;
  readonly events: readonly Event[];
  readonly expected: readonly string[];
}

const three = { m: 'i', a: 'i', x: 'i' };
const five = { m: 'i', a: 'i', b: 'i', x: 'i', y: 'i' };

const cases: Readonly<Record<string, Case>> = {
  'two miss it, and it does not answer: lost when nobody has heard it for a period': {
    nodes: three,
    events: [
      [1_000, 'dies', 'x'],
      [2_200, 'miss', 'm a', 'x'],
    ],
    expected: ['2200 ask x', '6200 lost x'],
  },
  'its manager has heard it after the others: a period from then on': {
    nodes: three,
    events: [
      [5_300, 'dies', 'x'],
      [5_400, 'miss', 'm a', 'x'],
    ],
    expected: ['5400 ask x', '10200 lost x'],
  },
  'one alone may be the one that is cut off': {
    nodes: { m: 'i', x: 'i' },
    events: [
      [1_000, 'dies', 'x'],
      [2_200, 'miss', 'm', 'x'],
    ],
    expected: [],
  },
  'it answers its manager, whatever others say: asked once a period': {
    nodes: three,
    events: [[2_200, 'miss', 'm a', 'x']],
    expected: ['2200 ask x', '7200 ask x', '12200 ask x', '17200 ask x'],
  },
  'it dies after it has answered: asked again, and lost': {
    nodes: three,
    events: [
      [2_200, 'miss', 'm a', 'x'],
      [4_000, 'dies', 'x'],
    ],
    expected: ['2200 ask x', '7200 ask x', '11200 lost x'],
  },
  'a third one hears it, and its manager does not': {
    nodes: { ...three, b: 'i' },
    events: [
      [1_000, 'dies', 'x'],
      [2_200, 'miss', 'm a', 'x'],
    ],
    expected: ['2200 ask x'],
  },
  'one hears it again for a moment: the period begins anew': {
    nodes: { ...three, b: 'i' },
    events: [
      [1_000, 'dies', 'x'],
      [2_200, 'miss', 'm a b', 'x'],
      [5_000, 'hear', 'b', 'x'],
      [6_000, 'miss', 'b', 'x'],
    ],
    expected: ['2200 ask x', '10000 lost x'],
  },
  'a switch that is away for less than a period moves nothing': {
    nodes: five,
    events: [
      [1_000, 'dies', 'x'],
      [2_200, 'miss', 'm a b y', 'x'],
      [5_800, 'lives', 'x'],
      [5_900, 'hear', 'm a b y', 'x'],
    ],
    expected: ['2200 ask x'],
  },
  'two die at once: neither speaks for the other': {
    nodes: five,
    events: [
      [1_000, 'dies', 'x'],
      [1_000, 'dies', 'y'],
      [2_200, 'miss', 'm a b', 'x'],
      [2_200, 'miss', 'm a b', 'y'],
    ],
    expected: ['2200 ask x', '2200 ask y', '6200 lost x', '6200 lost y'],
  },
  'who hears nobody, and is heard by nobody, calls nobody lost': {
    nodes: five,
    events: [
      [1_000, 'dies', 'a'],
      [1_000, 'dies', 'b'],
      [1_000, 'dies', 'x'],
      [1_000, 'dies', 'y'],
      ...['a', 'b', 'x', 'y'].map((whom): Event => [2_200, 'miss', 'm', whom]),
    ],
    expected: [],
  },
  'a witness that dies has its say until its heartbeat is overdue': {
    nodes: three,
    events: [
      [1_000, 'dies', 'x'],
      [2_200, 'miss', 'm a', 'x'],
      [2_300, 'dies', 'a'],
    ],
    expected: ['2200 ask x', '6200 lost x'],
  },
  'and not after that': {
    nodes: three,
    events: [
      [100, 'dies', 'x'],
      [200, 'miss', 'a', 'x'],
      [300, 'dies', 'a'],
      [5_000, 'miss', 'm', 'x'],
    ],
    expected: ['5000 ask x'],
  },
  'of three two die: nobody is left to agree with': {
    nodes: three,
    events: [
      [1_000, 'dies', 'x'],
      [4_000, 'dies', 'a'],
      [4_100, 'miss', 'm', 'x'],
    ],
    expected: [],
  },
  'who shares no network with it has no say, neither way': {
    nodes: { m: 'in', a: 'n', b: 'n', c: 'i', x: 'n' },
    events: [
      [1_000, 'dies', 'x'],
      [2_200, 'miss', 'm a b', 'x'],
    ],
    expected: ['2200 ask x', '6200 lost x'],
  },
  'those who share none with it are no witnesses': {
    nodes: { m: 'i', a: 'i', x: 'n' },
    events: [
      [1_000, 'dies', 'x'],
      [2_200, 'miss', 'm a', 'x'],
    ],
    expected: ['2200 ask x'],
  },
  'whose dataplane cannot tell has no say': {
    nodes: { ...three, b: 'i' },
    events: [
      [500, 'cannot judge', 'b'],
      [1_000, 'dies', 'x'],
      [2_200, 'miss', 'm a', 'x'],
    ],
    expected: ['2200 ask x', '6200 lost x'],
  },
  'one that has said goodbye, as before a reboot, has as long as an agent may wait': {
    nodes: three,
    events: [
      [900, 'leaves', 'x'],
      [1_000, 'dies', 'x'],
      [2_200, 'miss', 'm a', 'x'],
    ],
    expected: ['2200 ask x', '15200 lost x'],
  },
  'a manager that has slept asks anew': {
    nodes: three,
    events: [
      [1_000, 'dies', 'x'],
      [2_200, 'miss', 'm a', 'x'],
      [3_000, 'the manager sleeps', 6_000],
    ],
    expected: ['2200 ask x', '9000 ask x', '13000 lost x'],
  },
};

test.each(Object.entries(cases))('%s', (_, { nodes, events, expected }) => {
  expect(play(nodes, events)).toEqual(expected);
});

test.each([
  [1_000, 1_000],
  [2_000, 2_000],
  [2_500, 2_000],
  [5_000, 4_000],
  [15_000, 14_000],
])('with a period of %i ms who is asked has %i ms to answer', (ms, answerMs) => {
  const witnesses = new Witnesses();
  const nodes = ['m', 'a', 'x'].map((name) => ({
    ...node(name),
    attachments: [{ networkId: 'i' as NetworkId } as never],
  }));
  const lostMs = (): number | undefined => {
    for (let nowMs = 0; nowMs <= 2 * ms; nowMs += stepMs) {
      for (const name of ['m', 'a']) witnesses.beat(name as NodeId, new Set(['x' as NodeId]), ms, nowMs);
      if (witnesses.judge({ nodes, isInSession: () => true, periodMs: ms, nowMs }).lost.length > 0)
        return nowMs;
    }
    return undefined;
  };
  expect(lostMs()).toBe(answerMs);
});

/** Every node that lives beats once a period, answers what it is asked, and says at once what has changed. */
function play(networks: Case['nodes'], events: readonly Event[]): string[] {
  const witnesses = new Witnesses();
  const nodes = Object.entries(networks).map(([name, of]) => ({
    ...node(name),
    attachments: [...of].map((network) => ({ networkId: network as NetworkId }) as never),
  }));
  const names = Object.keys(networks);
  const silent = new Map(names.map((name): [string, Set<NodeId> | null] => [name, new Set()]));
  const alive = new Set(names);
  const inSession = new Set(names);
  const due = new Map(names.map((name, at) => [name, at * stepMs]));
  const lost = new Set<string>();
  const said: string[] = [];
  let awakeMs = 0;
  for (let nowMs = 0; nowMs <= endMs; nowMs += stepMs) {
    for (const [atMs, verb, who, whom] of events) {
      if (atMs !== nowMs) continue;
      if (verb === 'the manager sleeps') awakeMs = nowMs + who;
      else if (verb === 'dies') alive.delete(who);
      else if (verb === 'lives') alive.add(who);
      else if (verb === 'leaves') inSession.delete(who);
      else
        for (const witness of who.split(' ')) {
          if (verb === 'cannot judge') silent.set(witness, null);
          else if (verb === 'miss') silent.get(witness)?.add(whom as NodeId);
          else silent.get(witness)?.delete(whom as NodeId);
          due.set(witness, nowMs);
        }
      if (verb === 'lives') due.set(who, nowMs);
    }
    if (nowMs < awakeMs) continue;
    for (const name of alive)
      if ((due.get(name) ?? 0) <= nowMs) {
        const words = silent.get(name) ?? null;
        witnesses.beat(name as NodeId, words && new Set(words), periodMs, nowMs);
        due.set(name, nowMs + periodMs);
      }
    const verdict = witnesses.judge({
      nodes: nodes.filter(({ id }) => !lost.has(id)),
      isInSession: (id) => inSession.has(id),
      periodMs,
      nowMs,
    });
    for (const id of verdict.ask) {
      said.push(`${nowMs} ask ${id}`);
      due.set(id, nowMs + stepMs);
    }
    for (const id of verdict.lost) {
      said.push(`${nowMs} lost ${id}`);
      lost.add(id);
      witnesses.forget(id);
    }
  }
  return said;
}
