import assert from 'node:assert';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'vitest';
import { NodeNetwork } from '../../../../src/dataplane/node-network.js';
import { toChangeMessage } from '../../../../src/dataplane/parse-change.js';
import { parseNodeNetworkState } from '../../../../src/dataplane/parse-state.js';
import type { EngineEndpoint } from '../../../../src/dataplane/state-file.js';
import { DamagedFileError, openEngineTableFile } from '../../../../src/dataplane/state-file.js';
import { changeBetween, endpointKey } from '../../../../src/dataplane/state-change.js';
import type { NodeNetworkState } from '../../../../src/dataplane/state.js';
import { StateLog } from '../../../../src/dataplane/state-log.js';
import type { Ip, Mac } from '../../../../src/model/addresses.js';
import type { NetworkId } from '../../../../src/model/ids.js';
import { KeyedList } from '../../../../src/runtime/keyed-list.js';
import { stateValue, stateValueWithKeys } from './state-value.js';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-state-'));
});
afterEach(() => rm(directory, { recursive: true }));

const stateAt = (revision: number, nodeId = 'node1') =>
  parseNodeNetworkState({ ...stateValue(), revision, nodeId });
const statePath = (): string => join(directory, 'state.json');
const tablePath = (): string => join(directory, 'endpoints.json');

async function load(bootId = 'boot1'): Promise<{ network: NodeNetwork; damaged: unknown[] }> {
  const damaged: unknown[] = [];
  const network = await NodeNetwork.load(
    new StateLog(statePath()),
    openEngineTableFile(tablePath()),
    bootId,
    (err) => damaged.push(err),
  );
  return { network, damaged };
}

const endpoint: EngineEndpoint = {
  endpointId: 'e1',
  engineNetworkId: 'n1',
  overlayId: 'net1' as NetworkId,
  address: '10.0.1.5' as Ip,
  mac: '02:00:0a:00:01:05' as Mac,
  sandboxKey: '/run/docker/netns/abc',
};

test('what was set is there after a restart, in a file that is root’s alone', async () => {
  const { network } = await load();
  assert.equal(network.known, true, 'a first start knows that there is nothing');
  await network.setState(stateAt(10));
  await network.updateTable((table) => ({ ...table, endpoints: [endpoint] }));
  assert.equal((await stat(statePath())).mode & 0o777, 0o600);

  const { network: again, damaged } = await load();
  assert.deepEqual(damaged, []);
  assert.deepEqual(again.desired, { state: stateAt(10), sandboxes: [endpoint], traces: [] });
  await again.clearState();
  assert.equal((await load()).network.state, null);
});

test('a state never goes back within one cluster; another node’s replaces it', async () => {
  const { network } = await load();
  await network.setState(stateAt(10));
  await network.setState(stateAt(10));
  await assert.rejects(network.setState(stateAt(9)), /revision 9 is older than the one held, 10/);
  assert.equal(network.state?.revision, 10);
  const anew = parseNodeNetworkState({ ...stateValue(), revision: 3, nodeId: 'node7' });
  await network.setState(anew);
  assert.equal(network.state?.revision, 3);
});

test('the sandboxes of an earlier boot are forgotten, the engine’s networks are not', async () => {
  const { network } = await load('boot1');
  const networks = [{ engineNetworkId: 'n1', overlayId: 'net1' as NetworkId }];
  await network.updateTable((table) => ({ ...table, networks, endpoints: [endpoint] }));
  const { network: rebooted } = await load('boot2');
  assert.deepEqual([rebooted.networks, rebooted.endpoints, rebooted.known], [networks, [], true]);
});

const damages: [name: string, spoil: (text: string) => string][] = [
  ['cut short', (text) => text.slice(0, text.length / 2)],
  ['empty', () => ''],
  ['of another version', (text) => text.replace('"version":1', '"version":2')],
  ['no object', () => '7'],
];
for (const [name, spoil] of damages)
  test(`files that are ${name} are damage, and what the node has is unknown until told`, async () => {
    const { network } = await load();
    await network.setState(stateAt(10));
    await network.updateTable((table) => ({ ...table, endpoints: [endpoint] }));
    for (const path of [statePath(), tablePath()]) await writeFile(path, spoil(await readFile(path, 'utf8')));

    const { network: again, damaged } = await load();
    assert.equal(damaged.filter((err) => err instanceof DamagedFileError).length, 2);
    assert.equal(again.known, false);
    await again.setState(stateAt(11));
    assert.equal(again.known, false, 'the table is still unknown');
    await again.updateTable((table) => ({ ...table, endpoints: [endpoint] }));
    assert.equal(
      (await load()).network.known,
      false,
      'a part of the table is not the table, also after a restart',
    );
    await again.updateTable((table) => ({ ...table, whole: true }));
    assert.equal(again.known, true);
  });

test('waitFor answers on the change that brings it, and gives up with the signal', async () => {
  const { network } = await load();
  const revision = network.waitFor(() => network.state?.revision, AbortSignal.timeout(5000));
  await network.setState(stateAt(10));
  assert.equal(await revision, 10);
  const stop = new AbortController();
  const never = network.waitFor(() => undefined, stop.signal);
  stop.abort(new Error('enough'));
  await assert.rejects(never, /enough/);
});

test('keys of encrypted overlays are on no disk, and what lacks them asks for the whole', async () => {
  const value = stateValueWithKeys();
  const overlays = value.overlays.map((overlay) => ({ ...overlay, encrypted: true }));
  const state = parseNodeNetworkState({ ...value, overlays });
  const { network } = await load();
  await network.setState(state);
  assert.equal(network.state?.encryptionKeys?.length, 2);
  const text = await readFile(statePath(), 'utf8');
  for (const { key } of state.encryptionKeys ?? [])
    for (const form of ['hex', 'base64', 'latin1'] as const)
      assert.ok(!text.includes(key.reveal().toString(form)), 'no key on disk');

  const { network: again } = await load();
  assert.deepEqual(again.state, { ...state, encryptionKeys: null });
  const change = {
    ...{ nodeId: state.nodeId, baseRevision: state.revision, revision: state.revision + 1 },
    ...{ overlays: [], publishedPorts: [], removedPorts: [] },
  };
  await network.changeState(change);
  await assert.rejects(again.changeState(change), { kind: 'failedPrecondition' });
  await again.setState({ ...state, revision: state.revision + 1 });
  assert.equal(again.state?.encryptionKeys?.length, 2);
});

test('a change that stays at the revision held is taken, told of and kept, and an empty one is none', async () => {
  const state = stateAt(10);
  const { network } = await load();
  await network.setState(state);
  let told = 0;
  network.onChange(() => (told += 1));
  const [overlay] = state.overlays;
  const endpoint = overlay && [...overlay.endpoints][0];
  assert.ok(overlay && endpoint?.serving);
  const endpoints = [...overlay.endpoints].map((one) =>
    one === endpoint ? { ...one, serving: false } : one,
  );
  const after = { ...state, overlays: [{ ...overlay, endpoints: KeyedList.of(endpoints, endpointKey) }] };
  const change = changeBetween(state, {
    ...after,
    overlays: [...after.overlays, ...state.overlays.slice(1)],
  });
  assert.ok(change);
  await network.changeState(toChangeMessage(change));
  const servingOf = (held: NodeNetworkState | null): boolean | undefined =>
    [...(held?.overlays[0]?.endpoints ?? [])].find(({ taskId }) => taskId === endpoint.taskId)?.serving;
  assert.deepEqual([network.state?.revision, servingOf(network.state), told], [10, false, 1]);
  const { network: again } = await load();
  assert.deepEqual([again.state?.revision, servingOf(again.state)], [10, false]);
  const before = network.state;
  await network.changeState({
    ...{ nodeId: state.nodeId, baseRevision: 10, revision: 10 },
    ...{ overlays: [], publishedPorts: [], removedPorts: [] },
  });
  assert.equal(network.state, before);
});
