/** Changes of states: what they make, what is refused of them, and what is on disk of them. Walks are drawn from a seed. */
import assert from 'node:assert';
import { appendFile, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ChangeParser, toChangeMessage } from '../../../../src/dataplane/parse-change.js';
import { parseNodeNetworkState, toStateMessage } from '../../../../src/dataplane/parse-state.js';
import { shareState } from '../../../../src/dataplane/share-state.js';
import { applyStateChange, changeBetween, isEmpty } from '../../../../src/dataplane/state-change.js';
import type { OverlayChange, StateChange } from '../../../../src/dataplane/state-change.js';
import { DamagedFileError } from '../../../../src/dataplane/state-file.js';
import { StateLog } from '../../../../src/dataplane/state-log.js';
import type { Endpoint, NodeNetworkState } from '../../../../src/dataplane/state.js';
import { SkepError } from '../../../../src/model/errors.js';
import { changed, emptyNetwork, random } from '../plan/changing-network.js';
import { stateValue } from './state-value.js';

const seed = Number(process.env['SKEP_SEED'] ?? 20_262);
const overTheWire = (value: object): unknown => JSON.parse(JSON.stringify(value)) as unknown;
/** As it comes, but for the keys, which have no text and are on no disk. */
const parsed = (state: NodeNetworkState): NodeNetworkState => {
  const { encryptionKeys: _, ...message } = toStateMessage(state);
  return parseNodeNetworkState(overTheWire(message));
};

/** A walk's states, each sharing what is alike with the one before. */
function* walk(next: () => number, steps: number): Generator<NodeNetworkState> {
  let state = parsed(emptyNetwork().state);
  for (let step = 0; step < steps; step++) {
    yield state;
    state = shareState(state, parsed(changed({ state, sandboxes: [] }, next).state));
  }
}

/** The change from `held` with `over` in its first overlay. */
function changeOf(
  held: NodeNetworkState,
  over: Partial<OverlayChange>,
  more: Partial<StateChange> = {},
): StateChange {
  const [overlay] = held.overlays;
  assert(overlay);
  const nothing = { endpoints: [], removedEndpoints: [], services: [], removedServices: [] };
  return {
    nodeId: held.nodeId,
    baseRevision: held.revision,
    revision: held.revision + 1,
    overlays: [{ id: overlay.id, ...nothing, ...over }],
    publishedPorts: [],
    removedPorts: [],
    ...more,
  };
}
const held = parseNodeNetworkState(stateValue());
const [task1, task2] = held.overlays[0]?.endpoints.map((one) => one) as [Endpoint, Endpoint];
const [web] = held.overlays[0]?.services ?? [];

describe('a change', () => {
  test(`between two states makes the later one of the earlier, also when it was read (seed ${seed})`, () => {
    const next = random(seed);
    const parser = new ChangeParser();
    const count = { changes: 0, wholes: 0 };
    for (let walks = 0; walks < 20; walks++) {
      let before: NodeNetworkState | null = null;
      for (const state of walk(next, 40)) {
        const change = before && changeBetween(before, state);
        if (before === null || change === null) {
          count.wholes += 1;
          before = state;
          continue;
        }
        count.changes += 1;
        expect(applyStateChange(before, change)).toEqual(state);
        const read = parser.parse(overTheWire(toChangeMessage(change)), before);
        expect(read).toEqual({ change, state });
        parser.taken(before, read.change, read.state);
        before = shareState(read.state, state);
      }
    }
    expect(count.changes).toBeGreaterThan(10 * 20);
    expect(count.wholes).toBeGreaterThan(20);
  });

  test(`is refused exactly when the state that it makes would be (seed ${seed})`, () => {
    const next = random(seed + 1);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)] as T;
    const addresses = [
      '10.0.1.1',
      '10.0.1.2',
      '10.0.1.3',
      '10.0.1.4',
      '10.0.1.5',
      '10.0.1.6',
      '10.0.1.7',
      '10.0.2.1',
    ];
    const macs = [
      '02:00:0a:00:01:02',
      '02:00:0a:00:01:03',
      '02:00:0a:00:01:05',
      '02:00:0a:00:01:06',
      '02:00:0a:00:01:07',
    ];
    const parser = new ChangeParser();
    let state = held;
    const count = { taken: 0, refused: 0 };
    for (let step = 0; step < 2_000; step++) {
      const tasks = ['task1', 'task2', 'task3'].filter(() => next() < 0.4);
      const endpoints = tasks
        .filter(() => next() < 0.7)
        .map((taskId) => ({ ...task1, taskId, address: pick(addresses), mac: pick(macs) }) as Endpoint);
      const put = new Set(endpoints.map(({ taskId }) => taskId as string));
      const services = next() < 0.3 ? [{ ...web, vip: pick(addresses) } as never] : [];
      const removedServices = services.length === 0 && next() < 0.1 ? ['web'] : [];
      const removedEndpoints = tasks.filter((taskId) => !put.has(taskId));
      const change = changeOf(state, { endpoints, removedEndpoints, services, removedServices });
      const made = applyStateChange(state, change);
      const attempt = (read: () => unknown): string | null => {
        try {
          read();
          return null;
        } catch (err) {
          assert(err instanceof SkepError && err.kind === 'invalidArgument');
          return err.message;
        }
      };
      const whole = attempt(() => parsed(made));
      const partial = attempt(() => parser.parse(overTheWire(toChangeMessage(change)), state));
      expect(partial === null, `step ${step}: ${whole}, ${partial}`).toBe(whole === null);
      count[whole === null ? 'taken' : 'refused'] += 1;
      if (whole !== null) continue;
      parser.taken(state, change, made);
      state = made;
    }
    expect(Math.min(count.taken, count.refused)).toBeGreaterThan(100);
  });

  const refusals: [name: string, change: StateChange, kind: string, text: RegExp][] = [
    [
      'of another revision',
      changeOf(held, {}, { baseRevision: 9 }),
      'failedPrecondition',
      /revision 9.*held is 10/,
    ],
    ['of another node', changeOf(held, {}, { nodeId: 'other' as never }), 'failedPrecondition', /./],
    ['to an older one', changeOf(held, {}, { revision: 9 }), 'invalidArgument', /^revision: /],
    [
      'of an overlay that is not there',
      changeOf(held, { id: 'net2' as never }),
      'invalidArgument',
      /^overlays\[0\]\.id: /,
    ],
    [
      'of one overlay twice',
      changeOf(held, {}, { overlays: [...changeOf(held, {}).overlays, ...changeOf(held, {}).overlays] }),
      'invalidArgument',
      /^overlays\[1\]\.id: .*taken/,
    ],
    [
      'that puts and removes the same',
      changeOf(held, { endpoints: [task1], removedEndpoints: ['task1'] }),
      'invalidArgument',
      /task1 is already taken/,
    ],
    [
      'with an address that another has',
      changeOf(held, { endpoints: [{ ...task1, address: task2.address }] }),
      'invalidArgument',
      /^overlays\[0\]\.endpoints\[0\]\.address: 10.0.1.6 is already taken by endpoint task2/,
    ],
    [
      'with an unknown field',
      { ...changeOf(held, {}), peers: [] } as StateChange,
      'invalidArgument',
      /^peers: unknown field/,
    ],
  ];
  test.each(refusals)('%s is refused', (_name, change, kind, text) => {
    const parse = (): unknown => new ChangeParser().parse(overTheWire(toChangeMessage(change)), held);
    assert.throws(parse, (err) => err instanceof SkepError && err.kind === kind && text.test(err.message));
  });

  test('may exchange what two endpoints have', () => {
    const endpoints = [
      { ...task1, address: task2.address },
      { ...task2, address: task1.address },
    ];
    const { state } = new ChangeParser().parse(
      overTheWire(toChangeMessage(changeOf(held, { endpoints }))),
      held,
    );
    expect(state.overlays[0]?.endpoints.map(({ address }) => address)).toEqual(['10.0.1.6', '10.0.1.5']);
    expect(state.overlays[0]?.services).toBe(held.overlays[0]?.services);
  });

  test('is none where a node, an overlay or a peer differs, and empty where nothing does', () => {
    const [overlay] = held.overlays;
    assert(overlay);
    expect(changeBetween(held, { ...held, vtep: '192.0.2.9' as never })).toBeNull();
    expect(changeBetween(held, { ...held, overlays: [] })).toBeNull();
    expect(changeBetween(held, { ...held, overlays: [{ ...overlay, peers: [] }] })).toBeNull();
    const same = changeBetween(held, { ...held, revision: 11 });
    expect(same && isEmpty(same)).toBe(true);
  });
});

describe('the log', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skep-log-'));
  });
  afterEach(() => rm(directory, { recursive: true }));
  const valuePath = (): string => join(directory, 'state.json');
  const logPath = (): string => join(directory, 'state.log');
  const reload = (): Promise<NodeNetworkState | null> => new StateLog(valuePath()).load();

  /** Saves the first state and appends the changes to the others. */
  async function kept(states: readonly NodeNetworkState[]): Promise<StateLog> {
    const log = new StateLog(valuePath());
    for (const [index, state] of states.entries()) {
      const before = states[index - 1];
      const change = before && changeBetween(before, state);
      if (change) await log.append(change, state);
      else await log.save(state);
    }
    return log;
  }
  const serving = (revision: number): NodeNetworkState => {
    const change = changeOf(held, { endpoints: [{ ...task2, serving: revision % 2 === 0 }] }, { revision });
    return applyStateChange(held, change);
  };
  const states = [held, serving(11), serving(12), serving(13)];

  test(`has after a restart what was last put into it, whatever that was (seed ${seed})`, async () => {
    const next = random(seed);
    const log = new StateLog(valuePath());
    let before: NodeNetworkState | null = null;
    for (const state of walk(next, 60)) {
      const change = before && changeBetween(before, state);
      if (change && next() < 0.9) await log.append(change, state);
      else await log.save(state);
      before = state;
      expect(await reload()).toEqual(state);
    }
  });

  test('is root’s alone, and gone with the value', async () => {
    const log = await kept(states);
    expect((await stat(logPath())).mode & 0o777).toBe(0o600);
    await log.remove();
    expect(await reload()).toBeNull();
    await log.save(held);
    expect(await reload()).toEqual(held);
  });

  test('passes over a line that was cut short, and goes on', async () => {
    await kept(states);
    const whole = (await stat(logPath())).size;
    await truncate(logPath(), whole - 3);
    const log = new StateLog(valuePath());
    expect(await log.load()).toEqual(states[2]);
    const change = changeBetween(serving(12), serving(14));
    assert(change);
    await log.append(change, serving(14));
    expect(await reload()).toEqual(serving(14));
  });

  test('passes over lines of before the value', async () => {
    await kept(states);
    const lines = await readFile(logPath());
    await new StateLog(valuePath()).save(serving(13));
    await writeFile(logPath(), lines);
    expect(await reload()).toEqual(serving(13));
    const elsewhere = parseNodeNetworkState({ ...stateValue(), revision: 3, nodeId: 'node7' });
    await new StateLog(valuePath()).save(elsewhere);
    await writeFile(logPath(), lines);
    expect(await reload()).toEqual(elsewhere);
  });

  test.each([
    ['no JSON', '{"nodeId"\n'],
    ['no change', '{}\n'],
    ['a change of another state', '{"nodeId":"node1","baseRevision":77,"revision":78}\n'],
  ])('with a line that is %s is damage', async (_name, line) => {
    await kept(states);
    await appendFile(logPath(), line);
    await assert.rejects(reload(), DamagedFileError);
  });

  test('does not grow for ever', async () => {
    const log = new StateLog(valuePath());
    const many = parsed({
      ...held,
      overlays: held.overlays.map((overlay) => ({
        ...overlay,
        subnet: '10.0.0.0/16' as never,
        endpoints: Array.from({ length: 1000 }, (_, index) => ({
          ...task2,
          taskId: `t${index}` as never,
          address: `10.0.${4 + (index >> 8)}.${index & 255}` as never,
          mac: `02:00:00:01:${(index >> 8).toString(16).padStart(2, '0')}:${(index & 255).toString(16).padStart(2, '0')}` as never,
        })),
      })),
    });
    await log.save(many);
    let state = many;
    let biggest = 0;
    for (let revision = 11; revision < 40; revision++) {
      const endpoints =
        state.overlays[0]?.endpoints.map((one) => ({ ...one, serving: revision % 2 === 0 })) ?? [];
      const change = changeOf(state, { endpoints }, { revision });
      const made = applyStateChange(state, change);
      await log.append(change, made);
      state = made;
      biggest = Math.max(biggest, (await stat(logPath())).size);
    }
    expect(biggest).toBeGreaterThan(2 ** 19);
    expect(biggest).toBeLessThanOrEqual(2 ** 20);
    expect(await reload()).toEqual(state);
  });
});
